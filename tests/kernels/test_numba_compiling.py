"""Compilation of the CPU kernels: kept on disk, said in one line, possible without a folder, after a fork."""

import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

pytest.importorskip("numba")

from dnamamba.kernels import selective_scan
from dnamamba.kernels.numba_cpu import compiling

from .scan_inputs import scan_inputs


@pytest.fixture
def compile_into(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], float]]:
    """Return a function that compiles 2 x as a new process would, kept in a folder, and gives that of 3."""

    def forget() -> None:
        compiling._writable_folder.cache_clear()
        compiling._say.cache_clear()

    def compile_(folder: Path) -> float:
        forget()
        monkeypatch.setattr(compiling._SETTINGS, "CACHE_DIR", str(folder))

        @compiling.compiled("float32(float32)")
        def twice(x):
            return x + x

        return twice(3.0)

    yield compile_
    forget()


def test_one_line_says_what_is_kept(compile_into, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compile_into(tmp_path) == 6
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"compiling the CPU kernels, once, about 10 s: kept in {tmp_path}/dnamamba/")
    kept = {path.name: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nb?")}
    assert len(kept) == 2
    assert compile_into(tmp_path) == 6
    assert not capsys.readouterr().err
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nb?")} == kept


def test_a_folder_that_cannot_be_written(
    compile_into, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert compile_into(tmp_path / "file") == 6
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("can't be written (Not a directory); set NUMBA_CACHE_DIR to a folder that can")


@pytest.mark.parametrize("ending", ["nbi", "nbc"])
def test_a_damaged_file_is_compiled_again(compile_into, tmp_path: Path, ending: str) -> None:
    compile_into(tmp_path)
    (damaged,) = tmp_path.rglob(f"*.{ending}")
    damaged.write_bytes(damaged.read_bytes()[:-9])
    assert compile_into(tmp_path) == 6


def test_a_full_disk_only_keeps_nothing(
    compile_into, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("numba.core.caching.IndexDataCacheFile.save", full)
    assert compile_into(tmp_path) == 6


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system doesn't fork")
def test_a_fork_has_threads_of_its_own() -> None:
    """As a DataLoader's workers do, after the parent has used its threads."""
    torch.set_num_threads(3)
    inputs = {name: x.float() for name, x in scan_inputs(3, 40, 16, 16).items()}
    expected = selective_scan(**inputs, dt_softplus=True, backend="numba").y
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python 3.12 warns of any fork of a process with threads
        child = os.fork()
    if child == 0:
        found = selective_scan(**inputs, dt_softplus=True, backend="numba").y
        os._exit(0 if torch.equal(found, expected) else 1)
    assert os.waitpid(child, 0)[1] == 0
