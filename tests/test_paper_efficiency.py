"""What benchmarks/paper_efficiency.py compares with, and how it judges the paper's claims."""

from pathlib import Path
from types import ModuleType

import pytest
import torch

from dnamamba.kernels import selective_scan


@pytest.fixture
def efficiency(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The program, with the others that it imports."""
    monkeypatch.syspath_prepend(Path(__file__).parent.parent / "benchmarks")
    import paper_efficiency

    return paper_efficiency


@pytest.mark.parametrize("length", [1, 7, 64])
def test_scan_by_doublings_is_the_scan(efficiency: ModuleType, length: int) -> None:
    torch.manual_seed(0)
    inputs = efficiency.scan_inputs(8, length, torch.device("cpu"), torch.float32)
    wide = {name: tensor.double() for name, tensor in inputs.items()}
    truth = selective_scan(**wide, dt_softplus=True, backend="reference").y
    torch.testing.assert_close(efficiency.torch_scan(**inputs).double(), truth, rtol=1e-4, atol=1e-5)


def row(operator: str, length: int, forward: float | str) -> dict:
    return {"operator": operator, "length": length, "forward_ms": forward, "both_ms": ""}


def speed(model: str, batch: int, bases: float) -> dict:
    return {"model": model, "batch": batch, "bases_per_second": bases}


def test_claims_are_judged_by_what_was_measured(efficiency: ModuleType) -> None:
    scan = [
        *(row("scan", length, 1.0) for length in (1024, 4096, 32768)),
        *(row("PyTorch scan", length, ms) for length, ms in ((1024, 10), (4096, 21), (32768, ""))),
        *(row("attention", length, ms) for length, ms in ((1024, 0.5), (4096, 2.0), (32768, 6.9))),
    ]
    generation = [speed("dnamamba", 1, 100), speed("Llama, sdpa", 1, 20), speed("Llama, unmasked", 1, 50)]
    found = [(one["measured"], one["verdict"]) for one in efficiency.claims(scan, generation)]
    assert found == [
        ("1,024: 10.0, 4,096: 21.0", "met"),
        ("from 4,096", "not met"),
        ("6.9", "not met"),
        ("1: 2.0", "not met"),
    ]
    assert {one["verdict"] for one in efficiency.claims([], [])} == {"not measured"}
