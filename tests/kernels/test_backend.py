"""Which backend runs, and what is refused."""

import sys

import pytest
import torch

from dnamamba.kernels import causal_conv1d, resolve, selective_scan
from dnamamba.kernels.causal_conv1d import chunked as conv_chunked
from dnamamba.kernels.causal_conv1d import reference as conv_reference
from dnamamba.kernels.selective_scan import chunked as scan_chunked
from dnamamba.kernels.selective_scan import reference as scan_reference

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("backend", "device", "dtype", "expected"),
    [
        ("auto", CPU, torch.float32, "chunked"),
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
        ValueError, match="unknown backend 'cuda'; choose one of auto, reference, chunked, triton"
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
    ("backend", "runs"), [("reference", "reference"), ("chunked", "chunked"), ("auto", "chunked")]
)
def test_the_chosen_backend_runs(backend: str, runs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(name: str):
        return lambda *args, **options: name

    monkeypatch.setattr(scan_reference, "selective_scan_reference", answer("reference"))
    monkeypatch.setattr(scan_chunked, "selective_scan_chunked", answer("chunked"))
    monkeypatch.setattr(conv_reference, "causal_conv1d_reference", answer("reference"))
    monkeypatch.setattr(conv_chunked, "causal_conv1d_chunked", answer("chunked"))
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
