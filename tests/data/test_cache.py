import os
import subprocess
import sys

import pytest

from dnamamba.data import cache
from dnamamba.data.cache import cached
from dnamamba.data.progress import reading


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source [1].fa"
    path.write_text("x")
    return path


def test_a_file_is_made_once_for_each_version_of_its_source(source, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made = []

    def make(path):
        made.append(path)
        path.write_text(f"version {len(made)}")

    first = cached(source, ".fai", make)
    assert cached(source, ".fai", make) == first
    assert (len(made), first.read_text(), first.parent) == (1, "version 1", tmp_path / "cache" / "dnamamba")
    assert os.stat(first).st_mtime_ns == os.stat(source).st_mtime_ns
    other_kind = cached(source, ".fa", make)
    os.utime(source, ns=(5, 5))
    second = cached(source, ".fai", make)
    assert second.read_text() == "version 3"
    assert set(os.listdir(first.parent)) == {other_kind.name, second.name}


def test_files_of_the_same_name_elsewhere_have_their_own(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    paths = []
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "g.fa").write_text("x")
        os.utime(tmp_path / folder / "g.fa", ns=(5, 5))
        paths.append(
            cached(tmp_path / folder / "g.fa", ".fai", lambda path, text=folder: path.write_text(text))
        )
    assert [path.read_text() for path in paths] == ["one", "two"]


def test_a_failure_leaves_nothing(source, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def fail(path):
        path.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached(source, ".fai", fail)
    assert os.listdir(tmp_path / "cache" / "dnamamba") == []


def test_without_a_folder_to_write_in_it_lies_in_one_that_goes_with_the_process(source, tmp_path):
    program = (
        "import pathlib, sys; from dnamamba.data.cache import cached;"
        "path = cached(pathlib.Path(sys.argv[1]), '.fai', lambda path: path.write_text('made')); "
        "print(path.read_text(), path)"
    )
    (tmp_path / "not_a_folder").write_text("")
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "not_a_folder"), "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", program, str(source)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    made, _, path = done.stdout.strip().partition(" ")
    assert made == "made"
    assert path.startswith(str(tmp_path / "dnamamba-"))
    assert not os.path.exists(os.path.dirname(path))


def test_without_xdg_it_is_below_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache._folder() == tmp_path / ".cache" / "dnamamba"


def test_a_bar_is_drawn_for_a_large_file_on_a_terminal_only(monkeypatch, capsys):
    monkeypatch.setenv("TERM", "xterm")
    for terminal, total, drawn in (
        (True, 200_000_000, True),
        (True, 1000, False),
        (False, 200_000_000, False),
    ):
        monkeypatch.setattr("rich.console.Console.is_terminal", terminal)
        with reading("reading g.fa", total) as done:
            done(total // 2)
        out, err = capsys.readouterr()
        assert (out, "reading g.fa" in err) == ("", drawn)
