"""A result has one process that makes it, from the check of its name until it is there."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dnamamba import UserError
from dnamamba.claims import claim, release
from dnamamba.files import replacing, replacing_together
from dnamamba.inference.output import output_folder, output_path

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="names without a file are Linux's")


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Callable[[], None]]:
    """Another process that makes `out.tsv`; what is yielded kills it."""
    ready, done = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        output_path(str(tmp_path / "out.tsv"), (".tsv",), overwrite=False)
        output_folder(str(tmp_path / "folder"))
        os.write(ready[1], b".")
        os.read(done[0], 1)
        os._exit(0)
    os.read(ready[0], 1)
    waiting = [child]

    def kill() -> None:
        if waiting:
            os.kill(waiting[0], 9)
            os.waitpid(waiting.pop(), 0)

    yield kill
    kill()
    for number in (*ready, *done):
        os.close(number)


def test_a_result_in_the_making_is_refused(held: Callable[[], None], tmp_path: Path) -> None:
    refused = r"out=.*: another process is writing it; wait for its end, or choose another name"
    for overwrite in (False, True):
        with pytest.raises(UserError, match=refused):
            output_path(str(tmp_path / "out.tsv"), (".tsv",), overwrite)
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(UserError, match=refused):
        output_path(str(tmp_path / "link" / ".." / tmp_path.name / "out.tsv"), (".tsv",), overwrite=False)
    with pytest.raises(UserError, match=refused):
        output_folder(str(tmp_path / "folder"))
    assert output_path(str(tmp_path / "other.tsv"), (".tsv",), overwrite=False) == tmp_path / "other.tsv"
    release(tmp_path / "other.tsv")
    held()
    assert output_path(str(tmp_path / "out.tsv"), (".tsv",), overwrite=False) == tmp_path / "out.tsv"
    release(tmp_path / "out.tsv")
    assert os.listdir(tmp_path) == ["link"]


def taken_by_another(path: Path) -> bool:
    """Whether a child of this process can't have the name."""
    child = os.fork()
    if child == 0:
        try:
            claim(path, "out")
        except UserError:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1


def test_a_name_is_free_once_its_file_is_there(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.tsv", "b.tsv", "c.tsv")]
    for path in paths:
        claim(path, "out")
        claim(path, "out")  # its own process may ask twice
    assert [taken_by_another(path) for path in paths] == [True] * 3
    with replacing(paths[0]) as beside:
        beside.write_text("a")
    assert [taken_by_another(path) for path in paths] == [False, True, True]
    with replacing_together(paths[1:]) as besides:
        for beside in besides:
            beside.write_text("b")
    assert [taken_by_another(path) for path in paths] == [False] * 3


def test_a_refused_name_is_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("a")
    with pytest.raises(UserError, match="is there already"):
        output_path(str(path), (".tsv",), overwrite=False)
    assert not taken_by_another(path)
