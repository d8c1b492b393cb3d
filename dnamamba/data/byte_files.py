"""A file, or all files of a folder, as records of bytes: text as it is, sound by mu-law."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from dnamamba.data import sound
from dnamamba.data.alphabet import Alphabet, Ids
from dnamamba.data.intervals import Interval, Splits, unknown_record, whole
from dnamamba.errors import UserError


class ByteFiles:
    """Files as records, in the order of their names; all of them are read at once.

    Hidden files are left out; in a folder of sound, so are files of other kinds.

    Args:
        path: a file, or a folder of them and of folders.
        alphabet: `octets` or `mulaw`.
        rate: samples per second that sound must have.

    Raises:
        UserError: there is no file, or one can't be read; the message names it.

    Attributes:
        alphabet: of the ids.
        records: ids [bytes] of each file, by its name within the folder.
    """

    def __init__(self, path: str, alphabet: Alphabet, rate: int) -> None:
        self.alphabet = alphabet
        home = Path(path).expanduser()
        is_sound = alphabet.name == "mulaw"
        self.records = {
            name: sound.read_sound(file, rate) if is_sound else read_text(file)
            for name, file in _files(home, is_sound).items()
        }
        empty = [name for name, record in self.records.items() if len(record) < 2]
        if empty:
            raise UserError(f"{home}: {empty[0]} has no two bytes; remove it")

    @property
    def lengths(self) -> dict[str, int]:
        """Bytes of each file."""
        return {name: len(record) for name, record in self.records.items()}

    def load(self, names: Iterable[str]) -> None:
        """Do nothing: all files are read already."""

    def fetch(self, name: str, start: int = 0, end: int | None = None) -> Ids:
        """Return bytes of a file. See `dnamamba.data.intervals.Bases`."""
        return self.records[name][start:end]

    @property
    def digests(self) -> dict[str, str]:
        """SHA-256 of each file's ids."""
        return {name: hashlib.sha256(record.tobytes()).hexdigest() for name, record in self.records.items()}


def read_text(path: Path) -> Ids:
    """Read a file as it is.

    Raises:
        UserError: it can't be read, or holds the byte 0, which is padding.
    """
    try:
        found = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    except OSError as error:
        raise UserError(f"{path}: can't be read ({error.strerror}); give another file") from None
    zero = np.flatnonzero(found == 0)
    if zero.size:
        raise UserError(f"{path}: byte {zero[0] + 1:,} is 0, which no text has; give text")
    return found


def _files(home: Path, is_sound: bool) -> dict[str, Path]:
    """Return the files by their names within the folder.

    Raises:
        UserError: there are none, or sound is to be read as text.
    """
    if not home.exists():
        raise UserError(f"data.path: there is no {home}; give a file or a folder")
    if home.is_dir():
        shown = (file for file in home.rglob("*") if file.is_file())
        found = {file.relative_to(home).as_posix(): file for file in shown}
        found = {name: file for name, file in sorted(found.items()) if not _hidden(name)}
    else:
        found = {home.name: home}
    of_sound = {name: file for name, file in found.items() if file.suffix.lower() in sound.SUFFIXES}
    if is_sound and home.is_dir():
        found = of_sound
    if not found:
        what = f"sound ({', '.join(sound.SUFFIXES)})" if is_sound else "files"
        raise UserError(f"data.path: {home} has no {what}; give another folder")
    if of_sound and not is_sound:
        raise UserError(f"{next(iter(of_sound.values()))}: is sound; set data.alphabet=mulaw")
    return found


def _hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))


def split_files(
    files: ByteFiles, valid: list[str] | None, test: list[str] | None, fractions: tuple[float, float]
) -> Splits:
    """Divide files into what trains and what is held out.

    Named files are held out, and all others train. Without names, a file's content decides (its SHA-256 as a
    fraction: the lowest validate, the highest test; one file at least), so that copies stay together and a
    new file moves no other. One or two files are cut: the end of each is the test, what lies before it
    validates.

    Args:
        files: that were read.
        valid, test: names of files, or of folders of them; None: neither was named.
        fractions: of validation and test.

    Raises:
        UserError: a name is unknown or held out twice, or nothing is left to train on.
    """
    lengths = files.lengths
    if valid is None and test is None:
        if len(lengths) < 3:
            return _cut(lengths, *fractions)
        place = {name: int(digest[:16], 16) / 2**64 for name, digest in files.digests.items()}
        low, high = min(place.values()), max(place.values())
        held = {
            "valid": [name for name in place if place[name] < fractions[0] or place[name] == low],
            "test": [name for name in place if place[name] >= 1 - fractions[1] or place[name] == high],
        }
    else:
        held = {"valid": _named(valid or [], lengths, "valid"), "test": _named(test or [], lengths, "test")}
    both = {*held["valid"]} & {*held["test"]}
    if both:
        raise UserError(f"data.test: {min(both)} is in data.valid too; name it in one of the two")
    train = [name for name in lengths if name not in {*held["valid"], *held["test"]}]
    if not train:
        raise UserError(
            f"data.path: all {len(lengths)} files are held out; name fewer in data.valid, data.test"
        )
    return Splits(*(whole(lengths, names) for names in (train, held["valid"], held["test"])))


def _named(given: list[str], lengths: dict[str, int], key: str) -> list[str]:
    found = []
    for one in given:
        inside = [name for name in lengths if name == one or name.startswith(f"{one.rstrip('/')}/")]
        if not inside:
            raise UserError(f"data.{key}: {unknown_record(one, lengths)}")
        found += inside
    return found


def _cut(lengths: dict[str, int], valid: float, test: float) -> Splits:
    parts: dict[str, list[Interval]] = {"train": [], "valid": [], "test": []}
    for name, length in lengths.items():
        edges = [0, round(length * (1 - valid - test)), round(length * (1 - test)), length]
        for part, start, end in zip(parts, edges, edges[1:], strict=False):
            parts[part].append(Interval(name, start, end))
    return Splits(*(tuple(intervals) for intervals in parts.values()))
