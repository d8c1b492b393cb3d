"""Which backend runs, and what is refused."""

import sys
from collections.abc import Iterator

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from dnamamba.kernels import backend as choosing
from dnamamba.kernels import causal_conv1d, resolve, selective_scan, use
from dnamamba.kernels.causal_conv1d import chunked as conv_chunked
from dnamamba.kernels.causal_conv1d import numba_op as conv_numba
from dnamamba.kernels.causal_conv1d import reference as conv_reference
from dnamamba.kernels.selective_scan import chunked as scan_chunked
from dnamamba.kernels.selective_scan import numba_op as scan_numba
from dnamamba.kernels.selective_scan import reference as scan_reference

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("backend", "device", "dtype", "expected"),
    [
        ("auto", CPU, torch.float32, "numba"),
        ("auto", CPU, torch.bfloat16, "numba"),
        ("auto", CPU, torch.float64, "chunked"),
        ("numba", CPU, torch.float32, "numba"),
        ("auto", torch.device("mps"), torch.float32, "chunked"),
        ("auto", CUDA, torch.float32, "triton"),
        ("auto", CUDA, torch.bfloat16, "triton"),
        ("auto", CUDA, torch.float64, "chunked"),
        ("reference", CUDA, torch.float32, "reference"),
        ("chunked", CUDA, torch.float32, "chunked"),
        ("triton", CUDA, torch.float32, "triton"),
        ("triton", CUDA, torch.float64, "triton"),  # an explicit choice: the kernel itself says no
        ("reference", CPU, torch.float32, "reference"),
        ("chunked", CPU, torch.float32, "chunked"),
    ],
)
def test_resolve(backend: str, device: torch.device, dtype: torch.dtype, expected: str) -> None:
    assert resolve(backend, device, dtype) == expected


def test_unknown_backend_lists_the_choices() -> None:
    with pytest.raises(
        ValueError, match="unknown backend 'cuda'; choose one of auto, reference, chunked, numba, triton"
    ):
        resolve("cuda", CPU, torch.float32)


@pytest.fixture
def interpreter(monkeypatch: pytest.MonkeyPatch):
    """Return a switch for triton's interpreter."""
    knobs = pytest.importorskip("triton").knobs
    return lambda on: monkeypatch.setattr(knobs.runtime, "interpret", on)


def test_triton_off_cuda_needs_the_interpreter(interpreter) -> None:
    interpreter(False)
    with pytest.raises(
        RuntimeError, match=r"'triton' needs tensors on a CUDA device, not on cpu; .*TRITON_INTERPRET=1"
    ):
        resolve("triton", CPU, torch.float32)
    interpreter(True)
    assert resolve("triton", CPU, torch.float32) == "triton"


def test_triton_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "triton", None)
    with pytest.raises(RuntimeError, match="needs the triton package, which is not installed"):
        resolve("triton", CPU, torch.float32)


@pytest.mark.parametrize(
    ("backend", "runs"),
    [("reference", "reference"), ("chunked", "chunked"), ("numba", "numba"), ("auto", "numba")],
)
def test_the_chosen_backend_runs(backend: str, runs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(name: str):
        return lambda *args, **options: name

    monkeypatch.setattr(scan_reference, "selective_scan_reference", answer("reference"))
    monkeypatch.setattr(scan_chunked, "selective_scan_chunked", answer("chunked"))
    monkeypatch.setattr(conv_reference, "causal_conv1d_reference", answer("reference"))
    monkeypatch.setattr(conv_chunked, "causal_conv1d_chunked", answer("chunked"))
    monkeypatch.setattr(scan_numba, "selective_scan_numba", answer("numba"))
    monkeypatch.setattr(conv_numba, "causal_conv1d_numba", answer("numba"))
    x, A, B = torch.ones(1, 2, 3), -torch.ones(3, 4), torch.ones(1, 2, 4)
    assert selective_scan(x, x, A, B, B, backend=backend) == runs
    assert causal_conv1d(x, A, backend=backend) == runs


def test_a_refused_backend_does_not_fall_back(interpreter) -> None:
    interpreter(False)
    x, A, B = torch.ones(1, 2, 3), -torch.ones(3, 4), torch.ones(1, 2, 4)
    with pytest.raises(RuntimeError, match="'triton' needs tensors on a CUDA device"):
        selective_scan(x, x, A, B, B, backend="triton")
    with pytest.raises(RuntimeError, match="'triton' needs tensors on a CUDA device"):
        causal_conv1d(x, A, backend="triton")


@pytest.fixture
def without_numba(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(sys.modules, "numba", None)
    choosing._why_no_numba.cache_clear()
    yield
    choosing._why_no_numba.cache_clear()


@pytest.mark.usefixtures("without_numba")
def test_without_numba_auto_is_chunked() -> None:
    assert resolve("auto", CPU, torch.float32) == "chunked"
    x, A, B = torch.ones(1, 2, 3), -torch.ones(3, 4), torch.ones(1, 2, 4)
    with pytest.raises(
        RuntimeError, match=r"'numba' needs the numba package .*pip install 'dnamamba\[cpu\]'"
    ):
        selective_scan(x, x, A, B, B, backend="numba")
    with pytest.raises(RuntimeError, match="'numba' needs the numba package"):
        causal_conv1d(x, A, backend="numba")


@pytest.mark.parametrize(
    ("device", "dtype", "message"),
    [(CUDA, torch.float32, "on the CPU, not on cuda"), (CPU, torch.float64, "'chunked' takes it")],
)
def test_numba_refuses_what_it_does_not_compute(device, dtype, message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        resolve("numba", device, dtype)


def test_use_sets_auto_until_its_context_ends() -> None:
    with use("chunked"):
        assert resolve("auto", CPU, torch.float32) == "chunked"
        assert resolve("reference", CPU, torch.float32) == "reference"
        with use("reference"):
            assert resolve("auto", CPU, torch.float32) == "reference"
        assert resolve("auto", CPU, torch.float32) == "chunked"
    assert resolve("auto", CPU, torch.float32) == "numba"
    with pytest.raises(ValueError, match="unknown backend 'c'"):
        use("c")
    use("chunked")
    try:
        assert resolve("auto", CPU, torch.float32) == "chunked"
    finally:
        use("auto")
    assert resolve("auto", CPU, torch.float32) == "numba"


def test_auto_leaves_numba_to_eager_calls() -> None:
    """A dispatch mode, like torch.compile, must see torch's operations."""
    with FlopCounterMode(display=False):
        assert resolve("auto", CPU, torch.float32) == "chunked"
