"""Files under their final name are whole; what a killed process left next to them is removed."""

import errno
import os
import signal
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from dnamamba import UserError
from dnamamba.errors import printable
from dnamamba.files import complete, remove_leftovers, replacing, replacing_folder, replacing_together
from dnamamba.shortages import shortage


def test_file_is_replaced_at_end_or_never(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    path.write_text("before")

    def fail() -> None:
        with replacing(path) as beside:
            beside.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert (path.read_text(), os.listdir(tmp_path)) == ("before", ["out.txt"])
    with replacing(path) as beside:
        assert (beside.parent, beside.suffix) == (tmp_path, ".txt")
        beside.write_text("after")
        assert path.read_text() == "before"
    assert (path.read_text(), os.listdir(tmp_path)) == ("after", ["out.txt"])


def test_file_is_on_disk_before_its_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, events = tmp_path / "out.txt", []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (events.append(os.fstat(handle).st_ino), fsync(handle)))
    monkeypatch.setattr(os, "replace", lambda *paths: (events.append("renamed"), replace(*paths)))
    with replacing(path) as beside:
        beside.write_text("x")
    assert events == [path.stat().st_ino, "renamed", tmp_path.stat().st_ino]


def test_only_files_of_killed_processes_are_removed(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    program = (
        "import os, pathlib, sys; from dnamamba.files import replacing\n"
        "with replacing(pathlib.Path(sys.argv[1])) as beside:\n"
        "    beside.write_text('half'); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", program, str(path)], check=False)
    (left,) = os.listdir(tmp_path)
    assert left.endswith(".out.txt")
    other = tmp_path / f".{os.getppid()}-{left.split('-')[1]}"
    other.write_text("of a living process")
    with replacing(path) as beside:
        beside.write_text("whole")
    assert sorted(os.listdir(tmp_path)) == sorted([other.name, "out.txt"])


def test_kill_between_two_renames_restores_old_folder(tmp_path: Path) -> None:
    path = tmp_path / "model"
    program = (
        "import os, pathlib, sys; from dnamamba import files\n"
        "rename = os.replace\n"
        "def once(a, b): rename(a, b); os.kill(os.getpid(), 9)\n"
        "if sys.argv[2] == 'kill': os.replace = once\n"
        "with files.replacing_folder(pathlib.Path(sys.argv[1])) as beside:\n"
        "    (beside / 'a').write_text(sys.argv[2])"
    )
    for what in ("first", "kill"):
        subprocess.run([sys.executable, "-c", program, str(path), what], check=False)
    assert sorted(name.rpartition(".")[2] for name in os.listdir(tmp_path)) == ["model", "old"]
    remove_leftovers(tmp_path)
    assert os.listdir(tmp_path) == ["model"]
    assert (path / "a").read_text() == "first"
    with replacing_folder(path) as beside:
        (beside / "b").write_text("third")
    assert (os.listdir(tmp_path), os.listdir(path)) == (["model"], ["b"])


@pytest.mark.parametrize("renamed", [0, 1])
def test_files_that_belong_together_come_together(
    renamed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child is killed before its first, or its second renaming."""
    paths = [tmp_path / "a.tsv", tmp_path / "a.png"]
    paths[1].write_text("before")
    child = os.fork()
    if child == 0:
        rename, left = os.replace, [True] * renamed
        monkeypatch.setattr(
            os, "replace", lambda *names: rename(*names) if left and left.pop() else os.kill(os.getpid(), 9)
        )
        with replacing_together(paths) as besides:
            for beside in besides:
                beside.write_text(beside.suffix)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert [path.exists() for path in paths] == [renamed == 1, True]
    complete(tmp_path)
    assert [path.read_text() for path in paths] == [".tsv", ".png"]
    assert sorted(os.listdir(tmp_path)) == ["a.png", "a.tsv"]


def test_files_that_are_not_all_whole_keep_no_name(tmp_path: Path) -> None:
    """A child is killed over the list of their names, which is half written."""
    child = os.fork()
    if child == 0:
        with replacing_together([tmp_path / "a.tsv", tmp_path / "a.png"]) as besides:
            for beside in besides:
                beside.write_text("half")
            Path(f"{besides[0]}.together").write_text('["a.tsv", "a.')
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    complete(tmp_path)
    with replacing_together([tmp_path / "a.tsv", tmp_path / "a.png"]) as besides:
        for beside in besides:
            beside.write_text("whole")
    assert sorted(os.listdir(tmp_path)) == ["a.png", "a.tsv"]
    assert (tmp_path / "a.tsv").read_text() == "whole"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("chr1 é 染色体 \N{DNA DOUBLE HELIX}", "chr1 é 染色体 \N{DNA DOUBLE HELIX}"),
        ("\x1b]0;owned\x07x", r"\x1b]0;owned\x07x"),
        ("a\x9b1m\x7f\0", r"a\x9b1m\x7f\x00"),
        ("a\u202egnp.\u2028b", r"a\u202egnp.\u2028b"),
        ("\udcff.fa", r"\udcff.fa"),
        ("two\nlines", r"two\nlines"),
    ],
)
def test_control_characters_are_shown_as_escapes(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert str(UserError(f"{text}: no such file")) == f"{shown}: no such file"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_full_disk_is_a_line_that_names_the_file(number: int, tmp_path: Path) -> None:
    path = tmp_path / "out.tsv"

    def fill(write: AbstractContextManager[object]) -> None:
        with write:
            raise OSError(number, "Error writing bytes to file. Detail: x")

    for write in (replacing(path), replacing_together([path, tmp_path / "out.png"])):
        with pytest.raises(OSError, match="Error writing") as error:
            fill(write)
        assert shortage(error.value) == (
            f"can't write {path} ({os.strerror(number)}); make room there, or choose another place"
        )
    assert os.listdir(tmp_path) == []
