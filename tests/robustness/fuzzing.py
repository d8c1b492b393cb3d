"""Damaged files by the thousand: mutations, and what a reader may make of them.

`python -m tests.robustness.fuzzing --seconds 600` runs all formats in turn and prints the counts that
docs/reliability.md holds. A reader may give what an independent reading of the same bytes gives, or refuse in
one line that names the file; anything else is a failure, and so is taking ten seconds.
"""

from __future__ import annotations

import argparse
import random
import signal
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dnamamba import UserError
from dnamamba.escaping import LONGEST, printable

SECONDS = 10  # that a reader may take
# What has gone wrong before, or ends, separates and quotes things somewhere.
TOKENS: tuple[bytes, ...] = (
    b"", b"\0", b"\n", b"\r", b"\r\n", b"\n\n", b"\t", b" ", b">", b";", b",", b'"', b"'", b"#", b"=", b"-",
    b".", b"\x1b]0;owned\x07", b"\x85", b"\xff", b"\xef\xbb\xbf", b"\xff\xfe", "\u2028".encode(),
    "\u202e".encode(), "é".encode(), b"N", b"n", b"acgt", b"ACGTN" * 40, b"*", b"<DEL>", b"chr1", b"nan",
    b"NaN", b"inf", b"1e400", b"1_2", b"1.10", b"-1", b"0", b"9" * 30, b"18446744073709551616", b"null",
    b"true", b"{", b"}", b"[", b"]", b"&a", b"*a", b"!!python/object:os.system", b"${", b"}", b"x" * 5000,
    b"track", b"##", b"\x1f\x8b",
)  # fmt: skip


def mutated(data: bytes, rng: random.Random) -> bytes:
    """The bytes with one to four changes, small ones mostly."""
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        data = rng.choice(_CHANGES)(data, rng)
    return data


def _flip(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data) or 1)
    return data[:at] + bytes([(data[at] if data else 0) ^ 1 << rng.randrange(8)]) + data[at + 1 :]


def _put(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.choice(TOKENS) + data[at + rng.choice((0, 0, 1, 4)) :]


def _cut(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + data[at + min(rng.randrange(1, 40), len(data)) :]


def _end(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _again(data: bytes, rng: random.Random) -> bytes:
    at, size = rng.randrange(len(data) + 1), rng.randrange(1, 60)
    return data[: at + size] + data[at : at + size] * rng.choice((1, 1, 20)) + data[at + size :]


def _lines(data: bytes, rng: random.Random) -> bytes:
    lines = data.splitlines(keepends=True) or [b""]
    one, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[one], lines[other] = lines[other], lines[one]
    return b"".join(lines)


def _value(data: bytes, rng: random.Random) -> bytes:
    """Another value for a cell, a word or a number."""
    words = [word for word in data.replace(b"\t", b" ").replace(b",", b" ").split() if len(word) < 50]
    return data.replace(rng.choice(words), rng.choice(TOKENS), 1) if words else data


_CHANGES: Sequence[Callable[[bytes, random.Random], bytes]] = (
    _flip, _put, _put, _cut, _end, _again, _lines, _value,
)  # fmt: skip


@dataclass(frozen=True)
class Format:
    """A kind of input.

    Attributes:
        name: of the file, by which readers know what it is.
        seeds: whole files to begin with.
        read: gives what the package reads of the file at a path.
        truth: the same of the bytes, read independently; None where that is not known. It raises
            `Unreadable` where the package must refuse.
        mutate: changes a file; `mutated` if not given.
    """

    name: str
    seeds: Sequence[bytes]
    read: Callable[[Path], Any]
    truth: Callable[[bytes], Any] | None = None
    mutate: Callable[[bytes, random.Random], bytes] = mutated


class Unreadable(Exception):  # noqa: N818
    """What is damaged can't be read by anybody."""


@dataclass
class Counts:
    """The outcomes of a format's inputs; `failures` say of each what it was and show it."""

    inputs: int = 0
    read: int = 0
    judged: int = 0
    refused: int = 0
    failures: list[str] = field(default_factory=list)


def fuzz(form: Format, seed: int, folder: Path, *, number: int = 10**9, seconds: float = 10**9) -> Counts:
    """Read `number` damaged files, or as many as `seconds` allow; the same ones for the same seed."""
    rng, counts, began = random.Random(f"{form.name} {seed}"), Counts(), time.monotonic()
    path = folder / form.name
    while counts.inputs < number and time.monotonic() < began + seconds:
        data = form.mutate(rng.choice(form.seeds), rng)
        path.write_bytes(data)
        failure = _try(form, path, data, counts)
        counts.inputs += 1
        if failure:
            counts.failures.append(f"{form.name} {seed} input {counts.inputs}: {failure}\n{data[:600]!r}")
    return counts


def _try(form: Format, path: Path, data: bytes, counts: Counts) -> str | None:
    try:
        with _in_time():
            found = form.read(path)
    except UserError as error:
        counts.refused += 1
        return _bad_message(str(error), path)
    except _SlowError:
        return f"more than {SECONDS} s"
    except Exception:
        return traceback.format_exc()
    counts.read += 1
    if form.truth is None:
        return None
    try:
        truth = form.truth(data)
    except Unreadable as reason:
        return f"read, but {reason}"
    except UnicodeDecodeError:
        return "read, but is not UTF-8"
    if truth is None:
        return None
    counts.judged += 1
    return None if found == truth else f"read as {str(found)[:500]}, but is {str(truth)[:500]}"


def _bad_message(message: str, path: Path) -> str | None:
    if printable(message) != message or len(message) > LONGEST + 10:
        return f"not one printable line: {message!r}"
    named = path.name in message or path.parent.name in message.split(":")[0]  # a model is its folder
    return None if named else f"does not name the file: {message}"


class _SlowError(BaseException):
    pass


@contextmanager
def _in_time() -> Iterator[None]:
    def late(*_: object) -> None:
        raise _SlowError

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def main() -> None:
    """Run every format for its share of the time, and print a row of the table each."""
    from tests.robustness.formats import formats

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="of all formats together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="formats whose file's name holds this")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        chosen = [form for form in formats(Path(place)) if given.only in form.name]
        print("| file | inputs | read | of these judged | refused | failures |\n|---|---|---|---|---|---|")
        for form in chosen:
            found = fuzz(form, given.seed, Path(place), seconds=given.seconds / len(chosen))
            cells = found.inputs, found.read, found.judged, found.refused, len(found.failures)
            print(f"| `{form.name}` | {' | '.join(f'{cell:,}' for cell in cells)} |", flush=True)
            for failure in found.failures[:20]:
                print(failure)


if __name__ == "__main__":
    from tests.robustness import fuzzing  # whose `Unreadable` the formats raise

    fuzzing.main()
