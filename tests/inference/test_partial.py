"""The journal of an unfinished run, damaged in every place: what it says is made again, never an error."""

import os
import resource
import shutil
from pathlib import Path

import numpy as np
import pytest

from dnamamba import UserError
from dnamamba.inference.contexts import EmbeddingConfig, Part, Plan
from dnamamba.inference.inputs import Region
from dnamamba.inference.partial import _ENTRY, Partial, tidy

PLAN = Plan([Region(f"r{number}", 0, 4) for number in range(5)], EmbeddingConfig())
WIDTH = 3


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """Of a run that has done contexts 0 to 3 of 5."""
    partial = Partial(tmp_path / "out.npz", PLAN, WIDTH, {"layer": 1})
    for number in range(4):
        partial.add(Part(number, number, np.full((1, WIDTH), number + 1, dtype=np.float32), True))
    partial.close()
    return partial.folder / "journal"


def done(journal: Path) -> list[int]:
    partial = Partial(journal.parent.parent / "out.npz", PLAN, WIDTH, {"layer": 1})
    partial.close()
    return partial.done


def test_flipped_bit_costs_its_own_entry_at_most(journal: Path) -> None:
    whole = journal.read_bytes()
    assert done(journal) == [0, 1, 2, 3]
    for bit in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        journal.write_bytes(damaged)
        found = done(journal)
        entry = bit // 8 // _ENTRY.size
        # A number that became another's takes that one's checksum with it.
        assert set(found) <= {0, 1, 2, 3}
        assert len(found) >= 2, bit
        assert entry not in found


@pytest.mark.parametrize("number", [-1, -5, 5, 2**62, -(2**63)])
def test_missing_context_is_passed_over(journal: Path, number: int) -> None:
    journal.write_bytes(journal.read_bytes() + _ENTRY.pack(number, 0))
    assert done(journal) == [0, 1, 2, 3]


@pytest.mark.parametrize("text", ["", "5", "[]", "null", "{", "\0"])
def test_settings_that_cannot_be_read_begin_anew(journal: Path, text: str) -> None:
    (journal.parent / "settings.json").write_text(text)
    assert done(journal) == []


@pytest.mark.parametrize("moment", ["before the output has its name", "after it"])
def test_rest_of_killed_run_is_removed_or_resumed(
    moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.npz"
    partial = Partial(out, PLAN, WIDTH, {"layer": 1})
    for number in range(5):
        partial.add(Part(number, number, np.full((1, WIDTH), number, dtype=np.float32), True))
    made = partial.place("result.npz")
    made.write_bytes(b"whole")
    replace = os.replace

    class Killed(BaseException):
        pass

    def kill(*arguments: object, **options: object) -> None:
        raise Killed

    if moment == "after it":
        monkeypatch.setattr(shutil, "rmtree", lambda path, **options: kill() if out.exists() else None)
    else:
        monkeypatch.setattr(os, "replace", lambda old, new: kill() if new == out else replace(old, new))
    with pytest.raises(Killed):
        partial.publish(made)
    monkeypatch.undo()
    tidy(out)
    assert ".out.npz.published" in os.listdir(tmp_path)  # while a process has it
    partial.close()
    tidy(out)
    if moment == "after it":
        assert (os.listdir(tmp_path), out.read_bytes()) == (["out.npz"], b"whole")
    else:
        assert os.listdir(tmp_path) == [".out.npz.partial"]
        assert Partial(out, PLAN, WIDTH, {"layer": 1}).done == [0, 1, 2, 3, 4]


def test_full_disk_at_the_start_is_one_line(tmp_path: Path) -> None:
    """A limit of the size of files is as a full disk, which a test has none of."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3, before[1]))
    try:
        with pytest.raises(
            UserError, match=r"^can't write .*/\.out\.npz\.partial: File too large; make room"
        ):
            Partial(tmp_path / "out.npz", PLAN, WIDTH, {"layer": 1})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    partial = Partial(tmp_path / "out.npz", PLAN, WIDTH, {"layer": 1})
    partial.close()
    assert partial.done == []
