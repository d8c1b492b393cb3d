"""An embed command that was stopped resumes, repeats nothing and mixes nothing."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dnamamba
from dnamamba import UserError
from dnamamba.commands import embed as embed_command
from dnamamba.inference import partial
from dnamamba.inference.partial import _ENTRY
from tests import processes
from tests.inference.test_embed_command import WINDOWS, read


@pytest.fixture
def uninterrupted(embed: Callable[..., None], tmp_path: Path) -> np.ndarray:
    embed(f"out={tmp_path / 'whole.npz'}", *WINDOWS)
    return np.load(tmp_path / "whole.npz")["embeddings"]


def test_killed_run_resumes_and_repeats_nothing(
    embed: Callable[..., None],
    saved_model: Path,
    genome: Path,
    tmp_path: Path,
    uninterrupted: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "killed.h5"
    given = (f"model={saved_model}", f"fasta={genome}", "device=cpu", f"out={out}", *WINDOWS)
    process = processes.Command("dnamamba.embed", *given)
    journal = tmp_path / ".killed.h5.partial" / "journal"
    deadline = time.monotonic() + 60
    while not (journal.exists() and journal.stat().st_size > 20 * _ENTRY.size):
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not out.exists()
    finished = {entry[0] for entry in _ENTRY.iter_unpack(journal.read_bytes())}
    assert 20 < len(finished) < 200

    made: list[int] = []
    read_embeddings = embed_command.read_embeddings

    def watched(*args: Any, **options: Any) -> Any:
        for part in read_embeddings(*args, **options):
            made.append(part.context)
            yield part

    monkeypatch.setattr(embed_command, "read_embeddings", watched)
    embed(f"out={out}", *WINDOWS)
    assert sorted([*made, *finished]) == list(range(200))
    np.testing.assert_array_equal(read(out)[0], uninterrupted)
    assert not journal.parent.exists()


def unfinished(embed: Callable[..., None], out: Path, monkeypatch: pytest.MonkeyPatch, at: int = 100) -> Path:
    """Stop a run after some contexts, as Ctrl-C does; its partial folder."""
    with monkeypatch.context() as patch:
        add = partial.Partial.add

        def stop(self: partial.Partial, part: Any) -> None:
            add(self, part)
            if os.fstat(self._journal).st_size == at * _ENTRY.size:
                raise KeyboardInterrupt

        patch.setattr(partial.Partial, "add", stop)
        said = r"stopped after [\d,]+ of [\d,]+ bases; the same command resumes from .*partial"
        with pytest.raises(dnamamba.errors.Interrupted, match=said):
            embed(f"out={out}", *WINDOWS)
    assert not out.exists()
    return out.with_name(f".{out.name}.partial")


def test_rows_lost_with_the_machine_are_made_again(
    embed: Callable[..., None], tmp_path: Path, uninterrupted: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal may reach the disk before the rows do, and its last entry in part."""
    out = tmp_path / "lost.npz"
    folder = unfinished(embed, out, monkeypatch)
    with (folder / "values.f32").open("r+b") as file:
        file.write(bytes(64 * 120))
    with (folder / "journal").open("ab") as file:
        file.write(b"\x07\x00\x00")
    embed(f"out={out}", *WINDOWS)
    np.testing.assert_array_equal(read(out)[0], uninterrupted)


def test_unfinished_run_of_other_settings_is_refused(
    embed: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "mixed.npz"
    folder = unfinished(embed, out, monkeypatch)
    with pytest.raises(UserError, match=r"partial holds an unfinished run with another layer, strand: "):
        embed(f"out={out}", *WINDOWS, "layer=1", "strand=both")
    assert (folder / "journal").stat().st_size == 100 * _ENTRY.size


def test_a_run_that_finished_nothing_keeps_no_other_from_the_output(
    embed: Callable[..., None], tmp_path: Path, uninterrupted: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that refuses the first region leaves settings and an empty journal."""
    out = tmp_path / "again.npz"

    def refused(*_: Any, **__: Any) -> Any:
        raise UserError("sequences of another length")

    with monkeypatch.context() as patched:
        patched.setattr(embed_command, "read_embeddings", refused)
        with pytest.raises(UserError, match="another length"):
            embed(f"out={out}", *WINDOWS, "layer=1", "context=both")
    assert (tmp_path / ".again.npz.partial" / "journal").stat().st_size == 0
    embed(f"out={out}", *WINDOWS)
    np.testing.assert_array_equal(read(out)[0], uninterrupted)


def test_unfinished_run_of_replaced_fasta_is_refused(
    embed: Callable[..., None], genome: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the same size and time, as `cp -p` leaves it: half of the vectors would be of either file."""
    out, before = tmp_path / "mixed.npz", genome.stat()
    unfinished(embed, out, monkeypatch)
    text = genome.read_text()
    genome.write_text(text[:-3] + ("AA\n" if text[-3:-1] != "AA" else "CC\n"))
    os.utime(genome, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(UserError, match=r"partial holds an unfinished run with another regions_sha256"):
        embed(f"out={out}", *WINDOWS)


def test_two_processes_do_not_write_one_output(
    embed: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    out = tmp_path / "twice.npz"
    folder = unfinished(embed, out, monkeypatch)
    with (folder / "journal").open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(UserError, match=r"another process is writing .*twice.npz"):
            embed(f"out={out}", *WINDOWS)
