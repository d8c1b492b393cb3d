"""A genome: the records of a FASTA or .2bit file as ids of one byte a base."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from dnamamba.data.aliases import with_aliases
from dnamamba.data.alphabet import IUPAC, Alphabet, Ids, need_bases
from dnamamba.data.cache import fingerprint, forget
from dnamamba.data.intervals import unknown_record
from dnamamba.data.progress import reading
from dnamamba.data.reader import RecordReader, StaleError
from dnamamba.data.spool import spooled
from dnamamba.data.synonyms import Synonyms
from dnamamba.data.two_bit import TwoBitReader, is_two_bit
from dnamamba.errors import UserError

Reader = RecordReader | TwoBitReader
# Above this share of letters that stand for no nucleotide, a record is not DNA.
_FOREIGN_SHARE = 0.05
# IUPAC codes in both cases, gaps, and the X that some maskers write.
NUCLEOTIDE = np.zeros(256, dtype=bool)
NUCLEOTIDE[np.frombuffer(f"{IUPAC}{IUPAC.lower()}Xx-.*".encode(), dtype=np.uint8)] = True


class Genome:
    """The records of a FASTA file (plain, gzip or BGZF) or a .2bit; each is read whole when first asked for.

    Indices, and the text of a plain gzip file, are made once and kept in the user's cache folder; nothing is
    ever written next to the file. A pickled copy has no open file and no bases, and reads them when asked.

    Args:
        path: the FASTA file, or a pipe, of which a copy is made.
        alphabet: how letters become ids.
        advice: what to do, under the alphabet `dna`, where a record is not DNA.

    Attributes:
        circular: names of records without ends, see `close`.

    Raises:
        UserError: naming the file, the record or the line. No file or an empty one: at once. Not FASTA, or
            damaged: from any use; and another file than at the first use. Not DNA under the alphabet `dna`:
            from `load` and `fetch`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        alphabet: Alphabet,
        advice: str = "it takes a model of the alphabet bytes",
    ) -> None:
        self.advice = advice
        self.circular: frozenset[str] = frozenset()
        if not os.fspath(path).strip():  # which `Path` takes for the working directory
            raise UserError("fasta: the path is empty; name a FASTA file")
        self.path = Path(os.path.expanduser(path))
        need_bases(alphabet)
        self.alphabet = alphabet
        self._records: dict[str, Ids] = {}
        self._open_reader: tuple[int, Reader] | None = None
        self._seen: tuple[str, tuple[int, int], int] | None = None  # of the file that is read, see `_reader`
        # What comes by a pipe is copied; nothing of the copy stays in the cache.
        self._file = _readable(self.path)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_records": {}, "_open_reader": None}

    def __repr__(self) -> str:
        return f"Genome({str(self.path)!r}, {self.alphabet.name})"

    @cached_property
    def lengths(self) -> Mapping[str, int]:
        """Bases of each record, in the order of the file, with the table of names next to it."""
        return with_aliases(self._reader().lengths, self.path)

    @property
    def names(self) -> tuple[str, ...]:
        """The first word of each header, in the order of the file."""
        return tuple(self.lengths)

    def close(self, names: Iterable[str], key: str) -> None:
        """Take these records for circles: what goes past the end of one is read from its beginning.

        Args:
            names: of the records, or synonyms of them.
            key: that gave them, for messages.

        Raises:
            UserError: an unknown record.
        """
        synonyms = Synonyms(self.lengths)
        found = {name: synonyms.find(name) for name in names}
        for name, record in found.items():
            if record is None:
                raise UserError(f"{key}: {self.path} has {unknown_record(name, self.lengths)}")
        self.circular |= {record for record in found.values() if record is not None}

    def flanks(self, name: str, start: int, end: int, before: int, after: int) -> tuple[Ids, Ids]:
        """Return the bases before `start` and after `end`, at most so many; fewer where the record ends.

        In a circular record they continue at its other end, but never overlap.

        Args:
            name: of the record.
            start, end: 0-based, `end` not included.
            before, after: how many bases are wanted.
        """
        size = self.lengths[name]
        if name not in self.circular:
            left = self.fetch(name, max(0, start - before), start)
            return left, self.fetch(name, end, min(size, end + after))
        rest = size - (end - start)
        if before + after > rest:
            before = min(before, max(rest // 2, rest - after))
            after = min(after, rest - before)
        first, last = (start - before) % size, end % size
        return self.fetch(name, first, first + before), self.fetch(name, last, last + after)

    def fetch(self, name: str, start: int = 0, end: int | None = None) -> Ids:
        """Return the ids of bases `start` to `end` (0-based, not included): uint8 `[end - start]`, read-only.

        Of a circular record `end` may lie up to a whole round after `start`, past the record's own end.

        Args:
            name: of the record.
            start: 0-based.
            end: not included; None: the record's end.

        Raises:
            UserError: an unknown record, or a range outside it.
        """
        self.load([name])
        ids = self._records[name]
        end = ids.size if end is None else end
        if name in self.circular and start >= 0 and ids.size < end <= start + ids.size:
            first = start % ids.size
            round_ = np.concatenate([ids[first:], ids])[: end - start]
            round_.flags.writeable = False
            return round_
        if not 0 <= start <= end <= ids.size:
            raise UserError(
                f"{self.path}, record {name}: no bases {start} to {end} in a length of {ids.size}"
            )
        return ids[start:end]

    def load(self, names: Iterable[str] | None = None) -> None:
        """Read these records (all, without `names`) into memory now, where they are not there yet."""
        wanted = self.names if names is None else dict.fromkeys(names)
        missing = [name for name in wanted if name not in self._records]
        if not missing:
            return
        for name in missing:
            if name not in self.lengths:
                raise UserError(f"{self.path}: {unknown_record(name, self.lengths)}")
        with reading(f"reading {self.path.name}", sum(self.lengths[name] for name in missing)) as done:
            for name in missing:
                self._records[name] = self._read(name, done)

    def pieces(self, name: str) -> Iterator[Ids]:
        """Yield the ids of a record, about a megabyte at a time as they come from the file; none are kept.

        Raises:
            UserError: an unknown record.
        """
        if name not in self.lengths:
            raise UserError(f"{self.path}: {unknown_record(name, self.lengths)}")
        reader = self._reader()
        if reader.is_copy:
            try:
                deque(reader.letters(name), maxlen=0)  # finds damage before the first piece is given away
            except StaleError:
                reader = self._new_reader()
        for letters in reader.letters(name):
            self._check_same()
            yield self.alphabet.encode(letters)

    def _read(self, name: str, done: Callable[[int], None]) -> Ids:
        try:
            return self._read_once(name, done)
        except StaleError:
            self._new_reader()
            return self._read_once(name, done)

    def _new_reader(self) -> Reader:
        """Open the file anew after an error: the cache was damaged, or the file changed."""
        self._open_reader = None
        reader = self._reader()
        if reader.lengths != self.lengths:
            raise self._changed()
        return reader

    def _read_once(self, name: str, done: Callable[[int], None]) -> Ids:
        ids = np.empty(self.lengths[name], dtype=np.uint8)
        position = foreign = 0
        first_foreign = ""
        for letters in self._reader().letters(name):
            ids[position : position + letters.size] = self.alphabet.encode(letters)
            if self.alphabet.name == "dna":
                strange = np.flatnonzero(~NUCLEOTIDE[letters])
                if strange.size and not foreign:
                    first_foreign = f"{chr(letters[strange[0]])!r} at position {position + strange[0] + 1:,}"
                foreign += strange.size
            position += letters.size
            done(letters.size)
        self._check_same()
        if foreign > _FOREIGN_SHARE * ids.size:
            raise UserError(
                f"{self.path}, record {name}: {foreign:,} of {ids.size:,} letters are not nucleotide codes, "
                f"the first {first_foreign}; if this is protein or text, {self.advice}"
            )
        ids.flags.writeable = False
        return ids

    def _reader(self) -> Reader:
        if self._open_reader is None or self._open_reader[0] != os.getpid():
            try:
                stat, found = self._file.stat(), fingerprint(self._file)
            except OSError as error:
                raise UserError(f"{self.path}: {error.strerror}") from None
            if self._seen is not None and found != self._seen[0]:
                raise self._changed()
            # Its fingerprint, its size and time, and when the system last changed it.
            self._seen = found, (stat.st_size, stat.st_mtime_ns), stat.st_ctime_ns
            reader = TwoBitReader if is_two_bit(self._file) else RecordReader
            self._open_reader = os.getpid(), reader(self._file)
        self._check_same()
        return self._open_reader[1]

    def _check_same(self) -> None:
        """Refuse to read on in a file that is not the one whose records are known.

        Raises:
            UserError: it has another size, time or content, or is gone.
        """
        try:
            stat = self._file.stat()
            if self._seen is None:
                return
            before, known, changed = self._seen
            if (stat.st_size, stat.st_mtime_ns) == known and stat.st_ctime_ns == changed:
                return
            # Its owner may be another, or its bases: `cp -p` sets the time back.
            found = fingerprint(self._file) if (stat.st_size, stat.st_mtime_ns) == known else None
        except OSError as error:
            raise UserError(f"{self.path}: {error.strerror} any more") from None
        if found != before:
            raise self._changed()
        self._seen = before, known, stat.st_ctime_ns

    def _changed(self) -> UserError:
        return UserError(f"{self.path}: changed while it was in use; start again, with a new Genome")


def _readable(path: Path) -> Path:
    """Return the file to read, which is a copy if `path` is a pipe."""
    try:
        if path.is_dir():
            raise UserError(f"{path} is a folder, not a FASTA file")
        if not path.exists():
            raise UserError(f"{path}: no such file")
        found = spooled(path, forget)
        if not found.is_file():
            raise UserError(f"{path} is not a regular file")
        with found.open("rb") as file:
            if not file.read(1):
                raise UserError(f"{path} is empty")
        return found
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
