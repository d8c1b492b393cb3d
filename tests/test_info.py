"""`python -m dnamamba.info`: true facts, and a self-test that notices a wrong kernel."""

import pytest
import torch

from dnamamba.commands import environment
from tests import processes


def test_the_report() -> None:
    done = processes.run("dnamamba.info")
    assert done.returncode == 0
    assert all(line.startswith("compiling the CPU kernels") for line in done.stderr.splitlines())
    assert torch.__version__ in done.stdout
    assert "numba: what `auto` takes" in done.stdout
    assert done.stdout.count("agrees") >= 2
    assert "WRONG" not in done.stdout


def test_each_backend_is_checked_with_gradients() -> None:
    for backend in ("reference", "chunked"):
        found = environment.check(backend, "cpu")
        assert found.reason == "agrees"
        assert 0 < found.error < 2e-5
        assert 0 < found.seconds < 60


@pytest.mark.skipif(torch.cuda.is_available(), reason="here it can run")
def test_a_backend_that_cannot_run_says_why() -> None:
    found = environment.check("triton", "cpu")
    assert found.error is None
    assert not found.failed
    assert found.reason.startswith("can't run: backend 'triton' needs ")


def test_a_wrong_kernel_is_noticed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    scan = environment.selective_scan

    def wrong(*args, backend: str, **options):
        y, state = scan(*args, backend=backend, **options)
        return (y * 1.0001 if backend == "chunked" else y), state

    monkeypatch.setattr(environment, "selective_scan", wrong)
    assert environment.check("chunked", "cpu").reason == "WRONG"
    assert not environment.report()
    assert "WRONG" in capsys.readouterr().out
