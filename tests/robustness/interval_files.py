"""Interval files that are fuzzed: BED, GFF3, GTF, and an independent reading of each as truth."""

from __future__ import annotations

from itertools import takewhile
from pathlib import Path
from typing import Any

from dnamamba import get_alphabet
from dnamamba.data.examples import Collector, from_regions
from dnamamba.data.intervals import bed_rows
from dnamamba.data.regions import RegionsConfig, read_regions
from dnamamba.inference.inputs import read_inputs
from tests.robustness.cells import (
    MARK,
)

DNA = get_alphabet("dna")
LENGTHS = {"chr1": 400, "chr2": 250, "1.10": 90}
BED = b"track name=x\nchr1\t0\t40\tgene\t0\t+\nchr1\t10\t90\ttwo\t0\t-\n#x\nchr2\t5\t250\n"
GFF3 = (
    b"##gff-version 3\nchr1\tx\tgene\t11\t200\t.\t+\t.\tID=g1;Name=one%20two\n"
    b"chr1\tx\texon\t11\t100\t.\t+\t.\tParent=g1\nchr2\tx\tgene\t1\t250\t.\t-\t.\tID=g2\n"
    b"1.10\tx\tgene\t5\t90\t.\t?\t.\t.\n##FASTA\n>chr1\nACGT\n"
)
GTF = (
    b'#!genome x\nchr1\tx\tgene\t11\t200\t.\t+\t.\tgene_id "g1"; gene_name "a;b";\n'
    b'chr1\tx\texon\t11\t100\t.\t+\t.\tgene_id "g1"; exon_number 1;\n'
    b'chr2\tx\tgene\t1\t250\t.\t-\t.\tgene_id "g2";\n'
)
PEAKS = (
    b"chr1\t0\t40\tp1\t10\t+\t3.5\t1e-3\t-1\t7\nchr2\t5\t250\t.\t0\t.\t0\t-1\t-1\t-1\n"
    b"1.10\t1\t2\tp3\t1000\t-\t9\t2\t3\t0\n"
)
SYNONYMS = {"chr1": "chr1", "1": "chr1", "Chr1": "chr1", "chr01": "chr1", "NC_000001.11": "chr1", "2": "chr2"}
NAMED_BED = (
    b"1\t0\t40\nChr1\t5\t9\tx\t0\t-\nchr01\t1\t2\nNC_000001.11\t3\t4\n2\t0\t250\n"
    b"chr3\t0\t9\nchrM\t1\t3\n1.10\t0\t90\n"
)
SPACED_BED = b"chr1 0 40 gene 0 +\nchr2 1 2 b 0 -\n"


def read_bed_file(genome: Path) -> Any:
    """Rows of a BED file, as embeddings and as labelled sequences."""

    def read(path: Path) -> list[tuple[Any, ...]]:
        rows = [(*row.interval, *row.others) for row in bed_rows(path)]
        from_regions(genome, path, RegionsConfig(), into := Collector(DNA))
        inputs = read_inputs((genome, path), DNA)
        for region, place in zip(inputs.regions, into.places, strict=True):
            assert (region.record, region.start, region.end) == tuple(place)
        return rows

    return read


def read_features(path: Path) -> list[tuple[Any, ...]]:
    """The genes of an annotation."""
    how = RegionsConfig(feature="gene")
    rows = read_regions(path, LENGTHS, "genome.fa", how).rows
    return [(*row.interval, row.strand) for row in rows]


def features_truth(data: bytes) -> list[tuple[Any, ...]] | None:
    """Rows by tabs; None where a name is written by percent signs or may be a synonym."""
    found: list[tuple[Any, ...]] = []
    lines = data.removeprefix(MARK).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    for line in map(bytes.decode, takewhile(lambda line: not line.startswith((b">", b"##FASTA")), lines)):
        fields = line.split("\t")
        if line.strip() and not line.startswith("#") and fields[2] == "gene":
            if fields[0] not in LENGTHS:
                return None
            strand = fields[6].replace("?", ".")
            found.append((fields[0], int(fields[3]) - 1, int(fields[4]), strand))
    return found


def read_synonyms(path: Path) -> list[tuple[Any, ...]]:
    """Rows of a BED whose records another assembly's names mean."""
    rows = read_regions(path, LENGTHS, "genome.fa", RegionsConfig(unknown="skip")).rows
    return [(*row.interval, row.strand) for row in rows]


def synonyms_truth(data: bytes) -> list[tuple[Any, ...]] | None:
    """The same by a list of names; None where a file has others."""
    found = []
    for name, start, end, *others in bed_truth(data):
        if name not in SYNONYMS:
            return None
        if SYNONYMS[name]:
            found.append((SYNONYMS[name], start, end, (others[2].strip() if len(others) > 2 else "") or "."))
    return found


def bed_truth(data: bytes) -> list[tuple[Any, ...]]:
    """Lines by the format's text: tabs if there is one, else white space."""
    rows: list[tuple[Any, ...]] = []
    text = data.removeprefix(MARK).decode().replace("\r\n", "\n").replace("\r", "\n")
    for line in text.split("\n"):
        fields = line.split("\t") if "\t" in line else line.split()
        skipped = not line.strip() or line.startswith("#") or fields[0].split(" ")[0] in ("track", "browser")
        if not skipped:
            rows.append((fields[0], int(fields[1]), int(fields[2]), *fields[3:]))
    return rows
