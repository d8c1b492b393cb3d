"""The genomes of sources.toml."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dnamamba.errors import UserError

SOURCES = Path(__file__).with_name("sources.toml")
ROLES = ("fasta", "intervals")
_LOCAL = ("127.0.0.1", "::1", "localhost")
_DIGEST = {"md5": 32, "sha256": 64}


@dataclass(frozen=True)
class RemoteFile:
    """A file to download.

    Args:
        role: `fasta`, or `intervals` for a BED file with a split in its fourth column.
        url: https, or http for a server on this machine; its last part is the file's name.
        size: bytes, where published.
        md5, sha256: where published.

    Raises:
        UserError: a URL that is not safe, or with no plain file name at its end; a malformed checksum.
    """

    role: str
    url: str
    size: int | None = None
    md5: str | None = None
    sha256: str | None = None

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise UserError(f"{self.url}: the role must be {' or '.join(ROLES)} (got {self.role!r})")
        check_url(self.url)
        if not re.fullmatch(r"\w[\w.+-]*", self.name, re.ASCII):
            raise UserError(f"{self.url}: {self.name!r} at its end is not a plain file name")
        for algorithm, digits in _DIGEST.items():
            digest = getattr(self, algorithm)
            if digest is not None and not re.fullmatch(f"[0-9a-f]{{{digits}}}", digest):
                raise UserError(f"{self.url}: {digest!r} is not a checksum of {algorithm}")

    @property
    def name(self) -> str:
        """What the file is called on disk: never a path."""
        return urlsplit(self.url).path.rpartition("/")[2]


@dataclass(frozen=True)
class Chromosomes:
    """Which records of a FASTA are kept, and under what names.

    Args:
        header: a regular expression with one group. A record in whose header it is found is named `chr` and
            that group; the others (unplaced and alternate sequences, mitochondria) are left out.
        required: the groups that must be there, each a name or a range of numbers such as `1-22`.
        human: for each chromosome whose number is another, the human chromosomes with the same genes.
    """

    header: re.Pattern[str]
    required: tuple[str, ...]
    human: Mapping[str, tuple[str, ...]]

    def name_of(self, header: str) -> str | None:
        """Return the chromosome that a FASTA header names, or None."""
        found = self.header.search(header)
        return f"chr{found[1]}" if found else None

    def human_of(self, name: str) -> tuple[str, ...]:
        """Return the human chromosomes with the genes of this one."""
        return self.human.get(name, (name,))


@dataclass(frozen=True)
class Source:
    """A genome: what it is, on what terms, and where its files are."""

    name: str
    species: str
    assembly: str
    accession: str
    about: str
    terms: str
    citation: str
    files: tuple[RemoteFile, ...]
    chromosomes: Chromosomes


def check_url(url: str) -> None:
    """Raise UserError unless the URL is https, or http on this machine."""
    parts = urlsplit(url)
    if not (parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOCAL)):
        raise UserError(f"{url}: only https is fetched")


def load_sources(path: Path = SOURCES) -> dict[str, Source]:
    """Return every genome of a file such as sources.toml, by name.

    Raises:
        UserError: naming the file, the genome and what is wrong with it.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path}: {error}") from None
    sources = {}
    for name, table in tables.items():
        if not re.fullmatch(r"\w+", name, re.ASCII):
            raise UserError(f"{path}: {name!r} is not a name for a genome and its folder")
        try:
            sources[name] = _source(name, table)
        except (KeyError, TypeError, re.error, UserError) as error:
            raise UserError(f"{path}, {name}: {error}") from None
    return sources


def _source(name: str, table: dict[str, Any]) -> Source:
    files = tuple(RemoteFile(**file) for file in table["files"])
    if [file.role for file in files].count("fasta") != 1:
        raise UserError("a genome has one file of the role fasta")
    return Source(
        **{**table, "name": name, "files": files, "chromosomes": _chromosomes(table["chromosomes"])}
    )


def _chromosomes(table: dict[str, Any]) -> Chromosomes:
    header = re.compile(table["header"])
    if header.groups != 1:
        raise UserError(f"chromosomes.header: must have one group (got {table['header']!r})")
    required: list[str] = []
    for item in table["required"]:
        first, dash, last = item.partition("-")
        required += map(str, range(int(first), int(last) + 1)) if dash else [item]
    human = {
        f"chr{own}": tuple(f"chr{number}" for number in numbers)
        for own, numbers in table.get("human", {}).items()
    }
    return Chromosomes(header, tuple(f"chr{item}" for item in required), human)
