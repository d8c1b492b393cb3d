import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fasta_texts import COMPRESSIONS

from dnamamba import Genome, UserError, get_alphabet
from dnamamba.data import cache
from dnamamba.data.cache import cached
from dnamamba.data.progress import reading


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source [1].fa"
    path.write_text("x")
    return path


def test_file_is_made_once_per_source_version(source, tmp_path, monkeypatch):
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


def test_source_that_differs_between_samples_is_another_version(source, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for number, place in enumerate((17_000, 18_000), start=1):
        text = bytearray(b"A" * 3_000_000)
        text[place] = ord("C")
        source.write_bytes(text)
        os.utime(source, ns=(5, 5))
        made = cached(source, ".fa", lambda path, text=str(number): path.write_text(text), large=True)
        assert made.read_text() == str(number)


def test_files_of_same_name_elsewhere_have_their_own(tmp_path, monkeypatch):
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


def test_unwritable_cache_is_replaced_by_temporary_folder(source, tmp_path):
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


def test_bar_is_for_large_files_on_terminals_only(monkeypatch, capsys):
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


@pytest.fixture
def kept_files(tmp_path, monkeypatch):
    """A function for the paths of what the cache holds."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return lambda: sorted((tmp_path / "cache" / "dnamamba").iterdir())


@pytest.mark.parametrize("name", ["g.fa", "g.fa.gz", "g.fasta.gz", "uneven.fa"])
def test_a_damaged_entry_is_made_anew(tmp_path, kept_files, name):
    """Every kind of file that is kept, damaged in every way: empty, cut, a bit flipped, no file at all."""
    records = {"a": "ACGTTGCA" * 40, "b": "GGCC" * 9}
    text = "".join(f">{record}\n" + bases + "\n" for record, bases in records.items())
    if name == "uneven.fa":
        text = text.replace(">b", "A\nCC\n>b")
        records["a"] += "ACC"
    (tmp_path / name).write_bytes(COMPRESSIONS.get(name, bytes)(text.encode()))

    def read():
        genome = Genome(tmp_path / name, get_alphabet("bytes"))
        return {record: genome.fetch(record).tobytes().decode() for record in genome.names}

    assert read() == records
    for path in kept_files():
        stat, whole = path.stat(), path.read_bytes()
        flipped = [bytes([*whole[:at], whole[at] ^ 1, *whole[at + 1 :]]) for at in range(0, len(whole), 7)]
        for damaged in (b"", whole[:9], bytes(len(whole)), whole[: whole.find(b"\n") + 1], *flipped):
            path.write_bytes(damaged)
            os.utime(path, ns=(stat.st_mtime_ns, stat.st_mtime_ns))
            assert read() == records, (path.suffix, damaged)
        for put in (Path.mkdir, os.mkfifo, lambda link: link.symlink_to("nowhere")):
            path.unlink()
            put(path)
            assert read() == records, (path.suffix, put)
    assert len(kept_files()) == {"g.fa": 2, "g.fa.gz": 3, "g.fasta.gz": 3, "uneven.fa": 3}[name]


def test_same_size_and_time_give_another_fingerprint(tmp_path):
    path = tmp_path / "g.fa"
    for size in (8, 3_000_000):
        digests = set()
        for place in (0, size // 2, size - 1):
            content = bytearray(b"A" * size)
            content[place : place + 1] = b"C"
            path.write_bytes(content)
            os.utime(path, ns=(5, 5))
            digests.add(cache.fingerprint(path))
        assert len(digests) == 3


def test_only_files_of_killed_processes_are_removed(source, kept_files):
    """A child writes, and is killed in the middle; meanwhile and afterwards others write."""
    read, write = os.pipe()
    pid = os.fork()
    if not pid:

        def stall(path):
            path.write_text("half")
            os.write(write, b"x")
            time.sleep(600)

        cached(source, ".fa", stall)
    os.read(read, 1)
    other = cached(source, ".fai", lambda path: path.write_text("whole"))
    (half,) = [path for path in kept_files() if path != other]
    assert (half.name[0], half.read_text()) == (".", "half")
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert cached(source, ".fai", lambda path: path.write_text("whole")) == other
    assert kept_files() == [other]


def test_full_disk_is_named_by_its_cache(source, kept_files):
    def fail(path):
        path.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(UserError, match=r"cache/dnamamba: No space left .* set XDG_CACHE_HOME") as error:
        cached(source, ".fa", fail)
    assert "\n" not in str(error.value)
    assert kept_files() == []


def test_other_failures_to_read_stay_what_they_are(source, kept_files):
    def fail(path):
        raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(OSError, match="Input/output error"):
        cached(source, ".fa", fail)
    assert kept_files() == []
