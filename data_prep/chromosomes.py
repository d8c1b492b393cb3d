"""A downloaded FASTA as the chromosomes of a genome: chosen, renamed, upper case, in BGZF, with indices."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from Bio import bgzf

from data_prep.sources import Chromosomes, Source
from dnamamba.data.compression import (
    DAMAGE,
    PIECE,
    Compression,
    bgzf_blocks,
    compression_of,
    damaged,
    gzi_bytes,
    text_pieces,
)
from dnamamba.data.fai import fai_text, index_fasta, whole_lines
from dnamamba.data.progress import reading
from dnamamba.errors import UserError
from dnamamba.files import replacing
from dnamamba.seals import is_table, write_table

# Bases take two bits and higher levels hardly get below that, at several times the work.
_LEVEL = 4
_HEADER = re.compile(rb"^>.*", re.MULTILINE)


class Prepared(NamedTuple):
    """The files that are made of a FASTA."""

    fasta: Path
    fai: Path
    gzi: Path
    chromosomes: Path  # a table: name, record in the source, bases, human chromosomes with the same genes

    @classmethod
    def in_folder(cls, folder: Path, name: str) -> Prepared:
        """Return the paths for a genome of this name."""
        endings = ("fa.gz", "fa.gz.fai", "fa.gz.gzi", "chromosomes.tsv")
        return cls(*(folder / f"{name}.{ending}" for ending in endings))

    def newer_than(self, source: Path) -> bool:
        """Return whether all of them exist, are newer than a file, and the table is as it was written."""
        made = source.stat().st_mtime_ns
        there = all(path.exists() and path.stat().st_mtime_ns >= made for path in self)
        return there and is_table(self.chromosomes)


def prepare(source: Source, downloaded: Path, folder: Path) -> Prepared:
    """Make the files of a genome, unless they are there; the same bytes at every run (with the same zlib).

    Case is folded: soft-masking depends on who made the assembly, and a model would tell species by it.

    Raises:
        UserError: naming the file: damaged, no FASTA, a chromosome that is not there or there twice.
    """
    made = Prepared.in_folder(folder, source.name)
    if made.newer_than(downloaded):
        return made
    with replacing(made.fasta) as beside:
        records = write_bgzf(downloaded, beside, source.chromosomes)
    rows = index_fasta(text_pieces(made.fasta, Compression.BGZF, "indexing"), str(made.fasta))
    table = "".join(
        f"{row.name}\t{records[row.name]}\t{row.length}\t{','.join(source.chromosomes.human_of(row.name))}\n"
        for row in rows
    )
    gzi = gzi_bytes(bgzf_blocks(made.fasta))
    with replacing(made.fai) as beside:
        beside.write_text(fai_text(rows), encoding="ascii", newline="\n")
    with replacing(made.gzi) as beside:
        beside.write_bytes(gzi)
    write_table(made.chromosomes, "chromosome\trecord\tbases\thuman\n" + table)
    return made


def write_bgzf(source: Path, to: Path, chromosomes: Chromosomes) -> dict[str, str]:
    """Write the chromosomes of a FASTA in BGZF; the record that each is from, in the order of the file.

    Raises:
        UserError: as `prepare`.
    """
    records: dict[str, str] = {}
    seen: list[str] = []
    with bgzf.BgzfWriter(to, "wb", compresslevel=_LEVEL) as out:
        keep = False
        for text in whole_lines(_text(source)):
            position = 0
            for found in _HEADER.finditer(text):
                if keep:
                    out.write(text[position : found.start()].upper())
                header = found[0][1:].decode("utf-8", "replace").strip()
                seen.append(header)
                name = chromosomes.name_of(header)
                keep = name is not None
                if name is not None:
                    if name in records:
                        raise UserError(f"{source}: two records are {name}, {records[name]} and {header}")
                    records[name] = header.split()[0]
                    title = header if records[name] == name else f"{name} {header}"
                    out.write(f">{title}\n".encode())
                position = found.end() + 1
            if keep:
                out.write(text[position:].upper())
    missing = [name for name in chromosomes.required if name not in records]
    if missing:
        raise UserError(
            f"{source}: no record of {len(missing)} chromosome(s), {', '.join(missing[:4])}"
            f"{', ...' if len(missing) > 4 else ''}; it has {len(seen)} records, the first {seen[:1]}"
        )
    return records


def _text(path: Path) -> Iterator[bytes]:
    compressed = compression_of(path) is not Compression.PLAIN
    try:
        with (
            path.open("rb") as file,
            reading(f"converting {path.name}", path.stat().st_size) as done,
            gzip.GzipFile(fileobj=file) if compressed else file as text,
        ):
            position = 0
            while piece := text.read(PIECE):
                yield piece
                done(file.tell() - position)
                position = file.tell()
    except DAMAGE as error:
        raise damaged(path, error) from None
