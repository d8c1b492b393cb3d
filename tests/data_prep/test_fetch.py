import errno
import hashlib
import io
import json
import os
import re
import shutil
import socket
from collections import namedtuple

import pytest

from data_prep import fetch as fetching
from data_prep.fetch import ATTEMPTS, LONGEST_WAIT, fetch
from data_prep.lock import LOCK_NAME
from data_prep.sources import RemoteFile
from dnamamba.errors import UserError

from .server import serving

CONTENT = bytes(range(256)) * 400  # 102,400 bytes
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MD5 = hashlib.md5(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def direct(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def server():
    with serving(CONTENT) as server:
        yield server


@pytest.fixture
def waits():
    return []


@pytest.fixture
def get(server, tmp_path, waits):
    """Fetch genome.fa.gz into the folder `data`, without waiting."""

    def get(**published):
        file = RemoteFile("fasta", f"{server.url}/deep/genome.fa.gz?x=1", **published)
        return fetch(file, tmp_path / "data", sleep=waits.append)

    return get


def files(tmp_path):
    return sorted(os.listdir(tmp_path / "data"))


def test_file_is_fetched_once_with_its_checksum(get, server, tmp_path, waits):
    path = get()
    assert (path, path.read_bytes()) == (tmp_path / "data" / "genome.fa.gz", CONTENT)
    assert files(tmp_path) == [LOCK_NAME, "genome.fa.gz"]
    lock = json.loads((tmp_path / "data" / LOCK_NAME).read_text())
    assert lock == {f"{server.url}/deep/genome.fa.gz?x=1": {"size": len(CONTENT), "sha256": SHA256}}
    assert get(size=len(CONTENT), md5=MD5, sha256=SHA256) == path
    assert (server.requests, waits) == ([None], [])


@pytest.mark.parametrize("validator", ["etag", "last_modified"])
def test_broken_download_resumes_where_it_stopped(get, server, waits, validator):
    server.etag, server.last_modified = 'W/"weak"', "Sun, 22 Nov 2026 12:00:00 GMT"
    if validator == "etag":
        server.etag = '"strong"'
    server.script = ["drop:30000", "drop:20000", 503, "drop:1"]
    assert get(sha256=SHA256).read_bytes() == CONTENT
    assert server.requests == [None, "bytes=30000-", "bytes=50000-", "bytes=50000-", "bytes=50001-"]
    assert len(waits) == 4


def test_another_run_resumes_as_well(get, server, tmp_path):
    server.script = ["drop:30000", *[500] * ATTEMPTS]
    with pytest.raises(UserError, match="500 Internal Server Error; gave up after 5 attempts, run again"):
        get()
    assert files(tmp_path) == ["genome.fa.gz.part", "genome.fa.gz.part.etag"]
    assert get().read_bytes() == CONTENT
    assert server.requests[-1] == "bytes=30000-"
    assert files(tmp_path) == [LOCK_NAME, "genome.fa.gz"]


def test_whole_part_is_not_fetched_again(get, server, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "genome.fa.gz.part").write_bytes(CONTENT)
    (tmp_path / "data" / "genome.fa.gz.part.etag").write_text('"one"')
    assert get().read_bytes() == CONTENT
    assert server.requests == [f"bytes={len(CONTENT)}-"]


@pytest.mark.parametrize("script", [["drop:30000", "no_ranges"], ["drop:30000", "changed:two"]])
def test_what_cannot_be_resumed_is_fetched_whole(get, server, script):
    server.script = script
    assert get().read_bytes() == server.content
    assert server.requests == [None, "bytes=30000-"]


def test_without_name_for_version_nothing_is_resumed(get, server):
    server.etag = None
    server.script = ["drop:30000"]
    assert get(sha256=SHA256).read_bytes() == CONTENT
    assert server.requests == [None, None]


@pytest.mark.parametrize("odd", ["other_range", 416])
def test_an_answer_to_another_question_is_thrown_away(get, server, odd):
    server.script = ["drop:30000", odd]
    assert get(sha256=SHA256).read_bytes() == CONTENT
    assert server.requests == [None, "bytes=30000-", None]


def test_server_that_never_gets_further_is_given_up(get, server, waits, capsys):
    server.script = ["no_ranges:30000"] * 50
    with pytest.raises(UserError, match=r"genome.fa.gz was broken off, 72,400 bytes too early; gave up"):
        get()
    assert len(server.requests) == ATTEMPTS
    bounds = [2.0**attempt for attempt in range(1, ATTEMPTS)]
    assert all(bound / 2 <= wait <= bound for wait, bound in zip(waits, bounds, strict=True))
    assert capsys.readouterr().err.count("bytes too early; trying again in ") == ATTEMPTS - 1


def test_waits_are_bounded_and_differ(get, server, waits, monkeypatch):
    monkeypatch.setattr(fetching, "ATTEMPTS", 20)
    server.script = [503] * 19
    get()
    assert max(waits) <= LONGEST_WAIT
    assert len(set(waits)) == 19


@pytest.mark.parametrize("status", [404, 403, 400, 204])
def test_unchanged_answer_is_not_asked_for_twice(get, server, tmp_path, status):
    server.script = [status]
    with pytest.raises(UserError, match=rf"^{re.escape(server.url)}/\S+: the server answers {status} \w+"):
        get()
    assert (len(server.requests), files(tmp_path)) == (1, [])


def test_redirects_are_followed_with_the_range(get, server):
    server.script = ["drop:30000", f"redirect:{server.url}/elsewhere"]
    assert get().read_bytes() == CONTENT
    assert server.requests == [None, "bytes=30000-", "bytes=30000-"]


@pytest.mark.parametrize(
    ("to", "message"),
    [
        ("http://example.org/x", "leads to http://example.org/x: only https is fetched"),
        ("ftp://127.0.0.1/x", "leads to ftp://127.0.0.1/x: only https is fetched"),
        ("file:///etc/passwd", "Redirection to url 'file:///etc/passwd' is not allowed"),
    ],
)
def test_redirects_lead_to_safe_places_only(get, server, tmp_path, to, message):
    server.script = [f"redirect:{to}"]
    with pytest.raises(UserError, match=message):
        get()
    assert (len(server.requests), files(tmp_path)) == (1, [])


def test_file_without_length_is_read_to_end(get, server):
    server.script = ["no_length"]
    assert get(size=len(CONTENT)).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("published", "message"),
    [
        ({"sha256": SHA256}, f"wrong SHA-256, [0-9a-f]{{64}}, and {SHA256} is published; it is deleted"),
        ({"md5": MD5}, f"wrong MD5, [0-9a-f]{{32}}, and {MD5} is published; it is deleted"),
    ],
)
def test_wrong_bytes_are_never_kept(get, server, tmp_path, published, message):
    server.script = ["wrong"]
    with pytest.raises(UserError, match=message):
        get(**published)
    assert files(tmp_path) == []
    assert get(**published).read_bytes() == CONTENT


def test_wrong_size_is_seen_before_or_after_download(get, server, tmp_path):
    with pytest.raises(UserError, match="102,400 bytes, and 99 are published; nothing is downloaded"):
        get(size=99)
    server.script = ["no_length"]
    with pytest.raises(UserError, match="wrong bytes, 102400, and 99 is published"):
        get(size=99)
    assert files(tmp_path) == []


def test_a_later_download_must_equal_the_first(get, server, tmp_path):
    path = get()
    path.unlink()
    server.script = ["wrong"]
    with pytest.raises(UserError, match=rf"wrong SHA-256, .* and {SHA256} is in .*{LOCK_NAME}"):
        get()
    assert files(tmp_path) == [LOCK_NAME]


def test_file_changed_on_disk_is_reported_and_kept(get, tmp_path):
    get().write_bytes(b"mine")
    with pytest.raises(UserError, match=r"wrong SHA-256, .*; delete it to download it again"):
        get()
    assert (tmp_path / "data" / "genome.fa.gz").read_bytes() == b"mine"


@pytest.mark.parametrize("text", ["{", "[]", '{"u": 3}', '{"u": {"size": 1}}'])
def test_a_damaged_lock_is_not_passed_over(get, tmp_path, text):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / LOCK_NAME).write_text(text)
    with pytest.raises(UserError, match=f"{LOCK_NAME} is damaged"):
        get()


def test_no_space_is_said_before_anything_is_written(get, server, tmp_path, monkeypatch):
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(102_399))
    with pytest.raises(UserError, match=r"no space for .*: it needs 102,400 bytes and the disk has 102,399"):
        get()
    assert files(tmp_path) == []


class FullDisk(io.RawIOBase):
    def writable(self):
        return True

    def write(self, data):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_disk_that_fills_up_is_said(get, tmp_path, monkeypatch):
    opened = type(tmp_path).open

    def open_on_a_full_disk(path, mode="r", **options):
        return FullDisk() if mode == "ab" else opened(path, mode, **options)

    monkeypatch.setattr(type(tmp_path), "open", open_on_a_full_disk)
    with pytest.raises(UserError, match=r"no space is left for .*genome.fa.gz.part, after 0 bytes"):
        get()


def test_no_network_is_one_line(tmp_path, waits):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        file = RemoteFile("fasta", f"http://127.0.0.1:{port}/genome.fa.gz")
        with pytest.raises(UserError) as caught:
            fetch(file, tmp_path / "data", sleep=waits.append)
    message = str(caught.value)
    assert message == (
        f"no network: 127.0.0.1:{port} cannot be reached (Connection refused); "
        "gave up after 5 attempts, run again to resume"
    )
    assert (len(waits), files(tmp_path)) == (ATTEMPTS - 1, [])


def test_server_that_says_nothing_is_not_waited_for(tmp_path, waits, monkeypatch):
    monkeypatch.setattr(fetching, "TIMEOUT", 0.05)
    monkeypatch.setattr(fetching, "ATTEMPTS", 2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        file = RemoteFile("fasta", f"http://127.0.0.1:{silent.getsockname()[1]}/genome.fa.gz")
        with pytest.raises(UserError, match=r"no network: .* \(timed out\); gave up after 2"):
            fetch(file, tmp_path / "data", sleep=waits.append)


@pytest.mark.parametrize("suffix", ["", ".part"])
def test_links_out_of_the_folder_are_not_followed(get, server, tmp_path, suffix):
    (tmp_path / "data").mkdir()
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "data" / f"genome.fa.gz{suffix}").symlink_to(tmp_path / "victim")
    with pytest.raises(UserError, match=r"leads out of .*: nothing is written there"):
        get()
    assert (tmp_path / "victim").read_text() == "precious"
    assert server.requests == []
