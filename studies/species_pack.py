"""Carry the real sequences of the species tasks to a machine without them, in one small file.

    python studies/species_pack.py pack DNA OUT.fa.xz      # DNA holds great_apes_chr22/ and encode/
    python studies/species_pack.py unpack OUT.fa.xz FOLDER

The pack is FASTA in xz: upper case, segments of the same locus one after the other, so that four apes cost
little more than one. Unpacked it is FOLDER/SET/SPECIES.fa, with records `SPECIES|ID` (those of a simulated
species stay marked so). Where an ENCODE region is in several pieces, they are joined in order over 100 N.
"""

import argparse
import lzma
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

APES = ("human", "chimpanzee", "gorilla", "orangutan", "bonobo_SIMULATED")
ENCODE = ("human", "chimp", "baboon", "macaque", "marmoset", "galago", "mouse", "dog", "cow", "monodelphis")
REGIONS = ("ENm001", "ENm002")
# Twice the longest locus of five apes: a match is never further back.
DICTIONARY = 1 << 26
GAP = np.full(100, ord("N"), dtype=np.uint8)
UPPER = np.arange(256, dtype=np.uint8)
UPPER[ord("a") : ord("z") + 1] -= 32


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name, source, target in (("pack", "dna", "out"), ("unpack", "pack", "folder")):
        command = commands.add_parser(name)
        command.add_argument(source, type=Path)
        command.add_argument(target, type=Path)
    options = parser.parse_args()
    if options.command == "pack":
        pack(options.dna, options.out)
        print(f"{options.out}  {options.out.stat().st_size / 2**20:.1f} MiB")
    else:
        for path in unpack(options.pack, options.folder):
            print(f"{path}  {path.stat().st_size:,} bytes")
    return 0


def pack(dna: Path, out: Path) -> None:
    """Write the pack."""
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": DICTIONARY}]
    with lzma.open(out, "wb", filters=filters) as file:
        for name, letters in records(dna):
            file.write(b">" + name.encode() + b"\n" + UPPER[letters].tobytes() + b"\n")


def records(dna: Path) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Yield every record as SET/SPECIES|ID and its letters, orthologous ones together."""
    apes = {species: dict(read_fasta(dna / "great_apes_chr22" / f"{species}.fa")) for species in APES}
    ids = {species: {name.partition("|")[2]: name for name in of} for species, of in apes.items()}
    for identity in ids["human"]:
        for species in APES:
            yield f"great_apes_chr22/{species}|{identity}", apes[species][ids[species][identity]]
    for region in REGIONS:
        for species in ENCODE:
            pieces = [letters for _, letters in read_fasta(dna / "encode" / region / f"{species}.fa")]
            gaps = [GAP] * len(pieces)
            joined = [part for pair in zip(gaps, pieces, strict=True) for part in pair][1:]
            yield f"{region}/{species}|{region}", np.concatenate(joined)


def read_fasta(path: Path) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Yield first words of headers and letters; unlike `dnamamba.Genome`, names may occur twice."""
    for text in path.read_bytes().split(b">")[1:]:
        header, _, lines = text.partition(b"\n")
        yield header.split()[0].decode(), np.frombuffer(lines.translate(None, b"\r\n"), dtype=np.uint8)


def unpack(pack_file: Path, folder: Path) -> list[Path]:
    """Write FOLDER/SET/SPECIES.fa; the files."""
    written: dict[Path, list[bytes]] = {}
    with lzma.open(pack_file) as file:
        for header in file:
            where, _, identity = header[1:].decode().strip().partition("|")
            name, _, species = where.partition("/")
            assert all(part.replace("_", "").isalnum() for part in (name, species)), header
            text = f">{species}|{identity}\n".encode() + next(file)
            written.setdefault(folder / name / f"{species}.fa", []).append(text)
    for path, texts in written.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"".join(texts))
    return list(written)


if __name__ == "__main__":
    sys.exit(main())
