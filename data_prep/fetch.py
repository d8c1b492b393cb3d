"""One file over HTTPS, whole or not at all.

What has arrived lies in NAME.part until all of it is there and checked. A broken download resumes where
it stopped: the server is asked for the rest on condition that the file is still the same (`If-Range`), and
sends all of it otherwise, which is then written from the start. pooch verifies and renames as well, but after
a break begins again from nothing, which a genome over a bad line does not survive.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import random
import re
import shutil
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn
from urllib.parse import urlsplit

from data_prep.lock import Lock, Recorded
from data_prep.published import published_md5
from data_prep.sources import RemoteFile, check_url
from dnamamba.data.progress import reading
from dnamamba.errors import UserError

ATTEMPTS = 5
LONGEST_WAIT = 60.0
TIMEOUT = 30.0
_PIECE = 1 << 20
_PASSING = (408, 425, 429)


class _PassingError(Exception):
    """A failure that may be over at the next attempt."""


def fetch(file: RemoteFile, folder: Path, *, sleep: Callable[[float], None] = time.sleep) -> Path:
    """Download a file into a folder, or check the one that is there; the path to it.

    An attempt that brought new bytes does not count: `ATTEMPTS` in a row that brought none are the end.

    Raises:
        UserError: in one line: no network, no space, an answer such as 404, a wrong size or checksum, a link
            in the place of the file. What has arrived of the file is kept, unless it is wrong.
    """
    path = _inside(folder, file.name)
    folder.mkdir(parents=True, exist_ok=True)
    lock = Lock(folder)
    if path.exists():
        found = _check(path, file, lock, "delete it to download it again")
    else:
        part = _inside(folder, f"{file.name}.part")
        _receive_all(file, part, sleep)
        try:
            found = _check(part, file, lock, "it is deleted: run again, or ask the source")
        except UserError:
            _forget(part)
            raise
        part.replace(path)
        _forget(part)
    lock.record(file.url, found)
    return path


def _inside(folder: Path, name: str) -> Path:
    path = folder / name
    if path.resolve().parent != folder.resolve() or path.is_symlink():
        raise UserError(f"{path} leads out of {folder}: nothing is written there")
    return path


def _receive_all(file: RemoteFile, part: Path, sleep: Callable[[float], None]) -> None:
    furthest, failures = 0, 0
    while True:
        try:
            return _receive(file, part)
        except _PassingError as problem:
            failures = 1 if _size(part) > furthest else failures + 1
            furthest = max(furthest, _size(part))
            if failures == ATTEMPTS:
                raise UserError(
                    f"{problem}; gave up after {ATTEMPTS} attempts, run again to resume"
                ) from None
            # Half of it is chance, so that many who lost a server do not return to it together.
            wait = min(LONGEST_WAIT, 2.0**failures) * (0.5 + 0.5 * random.random())
            print(f"{problem}; trying again in {wait:.0f} s", file=sys.stderr)
            sleep(wait)


def _receive(file: RemoteFile, part: Path) -> None:
    """Make one attempt: append the rest of the file to the part, or fetch all of it."""
    tag = _tag_of(part)
    have = _size(part) if tag.exists() else 0
    headers = {"User-Agent": "dnamamba", "Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": tag.read_text(encoding="latin-1")}
    try:
        response = _OPENER.open(urllib.request.Request(file.url, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416 and _range_of(error).total == have:
                return
            _refuse(error.code, error.reason, file, part)
    except (OSError, http.client.HTTPException) as error:
        raise _PassingError(f"no network: {_host(file.url)} cannot be reached ({_reason(error)})") from None
    with response:
        start, total = 0, response.length
        if response.status == 206:
            start, total = _range_of(response)
            if start != have:
                _forget(part)
                raise _PassingError(f"{_host(file.url)} sent another part of {file.name} than was asked for")
        elif response.status != 200:
            raise UserError(f"{file.url}: the server answers {response.status} {response.reason}")
        _check_size(file, total)
        _check_space(part, total, start)
        if not start:
            _forget(part)
            validators = (response.headers["ETag"], response.headers["Last-Modified"])
            # A weak tag (W/) promises the same meaning, not the same bytes.
            for validator in validators:
                if validator and not validator.startswith("W/"):
                    tag.write_text(validator, encoding="latin-1")
                    break
        _append(response, file, part, start, total)


def _append(response: Any, file: RemoteFile, part: Path, start: int, total: int | None) -> None:
    try:
        with part.open("ab") as out, reading(f"downloading {file.name}", total or 0) as done:
            done(start)
            for piece in _pieces(response, file, None if total is None else total - start):
                out.write(piece)
                done(len(piece))
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise UserError(f"no space is left for {part}, after {_size(part):,} bytes") from None
        raise UserError(f"{part}: {error.strerror}") from None


def _pieces(response: Any, file: RemoteFile, expected: int | None) -> Iterator[bytes]:
    received = 0
    while expected is None or received < expected:
        try:
            piece = response.read1(_PIECE)
        except (OSError, http.client.HTTPException) as error:
            raise _PassingError(f"the download of {file.name} was broken off ({_reason(error)})") from None
        if not piece:
            break
        received += len(piece)
        yield piece
    if expected is not None and received < expected:
        raise _PassingError(
            f"the download of {file.name} was broken off, {expected - received:,} bytes too early"
        )


class _Range(NamedTuple):
    start: int
    total: int | None


def _range_of(response: Any) -> _Range:
    """Parse the header Content-Range: `bytes 10-19/20`, or `bytes */20` if nothing is sent."""
    found = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", response.headers["Content-Range"] or "")
    if not found:
        return _Range(-1, None)
    return _Range(int(found[1] or -1), None if found[2] == "*" else int(found[2]))


def _refuse(code: int, reason: str, file: RemoteFile, part: Path) -> NoReturn:
    if code == 416:
        _forget(part)
        raise _PassingError(f"{_host(file.url)} has another {file.name} than the one that was begun")
    if code in _PASSING or code >= 500:
        raise _PassingError(f"{_host(file.url)} answers {code} {reason}")
    raise UserError(f"{file.url}: the server answers {code} {reason}")


def _check_size(file: RemoteFile, total: int | None) -> None:
    if file.size is not None and total is not None and total != file.size:
        raise UserError(
            f"{file.url}: {total:,} bytes, and {file.size:,} are published; nothing is downloaded"
        )


def _check_space(part: Path, total: int | None, start: int) -> None:
    needed = (total or 0) - start
    free = shutil.disk_usage(part.parent).free + (0 if start else _size(part))
    if needed > free:
        raise UserError(f"no space for {part}: it needs {needed:,} bytes and the disk has {free:,} left")


def _check(path: Path, file: RemoteFile, lock: Lock, advice: str) -> Recorded:
    """Compare a file with what is published, then with what was downloaded first."""
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    size = _size(path)
    with path.open("rb") as content, reading(f"checking {file.name}", size) as done:
        while piece := content.read(_PIECE):
            sha256.update(piece)
            md5.update(piece)
            done(len(piece))
    found = Recorded(size, sha256.hexdigest())
    first = lock.get(file.url)
    listed = published_md5(path)
    checks = [
        ("bytes", size, file.size, "published"),
        ("SHA-256", found.sha256, file.sha256, "published"),
        ("MD5", md5.hexdigest(), file.md5, "published"),
        ("MD5", md5.hexdigest(), listed and listed[0], f"in {listed and listed[1]}"),
        ("SHA-256", found.sha256, first and first.sha256, f"in {lock.path}"),
    ]
    for what, actual, expected, where in checks:
        if expected is not None and actual != expected:
            raise UserError(f"{path}: wrong {what}, {actual}, and {expected} is {where}; {advice}")
    return found


class _OnlySafe(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        try:
            check_url(newurl)
            if req.type == "https" and urlsplit(newurl).scheme != "https":
                raise UserError(f"{newurl}: only https is fetched")
        except UserError as error:
            fp.close()
            raise UserError(f"{req.full_url} leads to {error}") from None
        return super().redirect_request(req, fp, code, msg, headers, newurl)


_OPENER = urllib.request.build_opener(_OnlySafe)


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _tag_of(part).unlink(missing_ok=True)


def _tag_of(part: Path) -> Path:
    """Return the file that keeps the server's name for this version."""
    return part.with_name(f"{part.name}.etag")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _host(url: str) -> str:
    return urlsplit(url).netloc


def _reason(error: Exception) -> str:
    cause = getattr(error, "reason", error)
    return getattr(cause, "strerror", None) or str(cause) or type(error).__name__
