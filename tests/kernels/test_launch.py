"""Which binary a launch takes, as triton would choose it; a stand-in for triton tells when it is asked."""

from typing import Any

import pytest
import torch

pytest.importorskip("triton", reason="triton is published for Linux on x86-64 alone")

from dnamamba.kernels import launch as module


class Binary:
    """What a kernel was compiled to; notes its launches."""

    def __init__(self) -> None:
        self.launched: list[tuple[Any, ...]] = []

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        return lambda *arguments: self.launched.append((grid, *arguments))


class Kernel:
    """A kernel whose constexprs are N and FAST; a new binary whenever it is asked."""

    arg_names = ("p_x", "p_y", "size", "eps", "N", "FAST")
    pre_run_hooks = ()

    def __init__(self) -> None:
        self.binaries: list[Binary] = []
        self.asked: list[tuple[Any, ...]] = []

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        def run(*arguments: Any, **flags: Any) -> Binary:
            self.asked.append((grid, arguments, flags))
            self.binaries.append(Binary())
            return self.binaries[-1]

        return run


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    monkeypatch.setattr(module.triton, "JITFunction", Kernel)
    monkeypatch.setattr(module, "CompiledKernel", Binary)
    monkeypatch.setattr(module, "driver", type("Driver", (), {"active": FakeDevice()}))
    monkeypatch.setattr(module, "_compiled", {})
    return Kernel()


class FakeDevice:
    number = 0

    def get_current_device(self) -> int:
        return self.number


def tensor(dtype: torch.dtype = torch.float32, shift: int = 0) -> torch.Tensor:
    return torch.zeros(64, dtype=dtype)[shift:]


def call(kernel: Kernel, x: Any, y: Any, size: int, eps: float = 0.5, **flags: Any) -> None:
    module.launch(kernel, (3, 2), x, y, size, eps, **{"FAST": True, "N": 16, "num_warps": 1} | flags)


def test_second_launch_of_kind_takes_binary_of_first(kernel: Kernel) -> None:
    x, y = tensor(), tensor()
    call(kernel, x, None, 48)
    call(kernel, y, None, 64, 0.25)
    assert [(grid, arguments) for grid, arguments, _ in kernel.asked] == [((3, 2), (x, None, 48, 0.5))]
    (launched,) = kernel.binaries[0].launched
    grid, first, *rest = launched
    assert first is y
    # A grid of three numbers; constexprs in the kernel's order, without what is not an argument.
    assert (grid, rest) == ((3, 2, 1), [None, 64, 0.25, 16, True])


def test_another_kernel_has_a_binary_of_its_own(kernel: Kernel) -> None:
    other = Kernel()
    for one in (kernel, other, kernel, other):
        call(one, tensor(), None, 48)
    assert [len(one.binaries[0].launched) for one in (kernel, other)] == [1, 1]


def test_size_one_and_non_multiples_of_16_differ(kernel: Kernel) -> None:
    for size in (1, 50, 1, 51):
        call(kernel, tensor(), None, size)
    assert [len(binary.launched) for binary in kernel.binaries] == [1, 1]


def test_unfinished_binary_is_not_kept(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CompiledKernel", str)
    call(kernel, tensor(), None, 48)
    monkeypatch.setattr(module, "CompiledKernel", Binary)
    for _ in range(2):
        call(kernel, tensor(), None, 48)
    assert [len(binary.launched) for binary in kernel.binaries] == [0, 1]


def test_hooks_see_every_launch(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Kernel, "pre_run_hooks", (print,))
    for _ in range(2):
        call(kernel, tensor(), None, 48)
    assert len(kernel.asked) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"x": tensor(torch.bfloat16)},
        {"x": tensor(shift=1)},
        {"y": tensor()},
        {"size": 1},
        {"size": 50},
        {"size": 2**31},
        {"N": 8},
        {"FAST": False},
        {"num_warps": 4},
    ],
    ids=str,
)
def test_another_kind_is_compiled_for(kernel: Kernel, change: dict[str, Any]) -> None:
    usual: dict[str, Any] = {"x": tensor(), "y": None, "size": 48}
    call(kernel, **usual)
    call(kernel, **{**usual, **change})
    assert len(kernel.asked) == 2
    call(kernel, **usual)
    call(kernel, **{**usual, **change})
    assert [len(binary.launched) for binary in kernel.binaries] == [1, 1]


def test_another_device_is_compiled_for(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    call(kernel, tensor(), None, 48)
    monkeypatch.setattr(FakeDevice, "number", 1)
    call(kernel, tensor(), None, 48)
    assert len(kernel.asked) == 2
