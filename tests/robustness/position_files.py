"""Files with a value or class for each base that are fuzzed, and truths: bedGraph, bigWig, GFF3, GTF, BED."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from dnamamba.data.base_classes import IGNORED, base_classes
from dnamamba.data.signal import read_signal
from tests.robustness.cells import MARK
from tests.robustness.fuzzing import Format, Unreadable
from tests.robustness.interval_files import LENGTHS, bed_truth

BEDGRAPH = (
    b"track type=bedGraph\nchr1\t0\t30\t2.0\nchr1 30 40 nan\nchr1\t40\t60\t-5e-3\n#x\nchr2\t9\t10\t1000000\n"
    b"1.10\t0\t90\t.5\n"
)
GENES = (
    b"##gff-version 3\nchr1\tx\tgene\t11\t200\t.\t+\t.\tID=g1\nchr1\tx\texon\t11\t100\t.\t+\t.\tParent=t1\n"
    b"chr1\tx\texon\t151\t200\t.\t+\t.\tParent=t1\nchr1\tx\tCDS\t20\t100\t.\t+\t0\tParent=t1\n"
    b"chr1\tx\tCDS\t151\t180\t.\t+\t2\tParent=t1\nchr2\tx\tCDS\t4\t30\t.\t-\t1\tParent=t2\n"
    b"1.10\tx\texon\t5\t90\t.\t-\t.\tParent=t3\n"
)
TRANSCRIPTS = (
    b'chr1\tx\texon\t11\t100\t.\t+\t.\tgene_id "g"; transcript_id "t";\n'
    b'chr1\tx\texon\t151\t200\t.\t+\t.\tgene_id "g"; transcript_id "t";\n'
    b'chr2\tx\texon\t1\t20\t.\t-\t.\tgene_id "u"; transcript_id "u";\n'
    b'chr2\tx\texon\t40\t90\t.\t-\t.\tgene_id "u"; transcript_id "u";\n'
)
CLASSES = (
    b"chr1\t0\t40\tpromoter\t0\t+\nchr1\t30\t90\tenhancer\t0\t-\nchr2\t5\t250\tpromoter\n1.10\t0\t9\tx\n"
)
BLOCKS = (
    b"chr1\t10\t200\tg\t0\t+\t19\t180\t0\t2\t90,50\t0,140\nchr2\t3\t90\th\t0\t-\t3\t3\t0\t2\t20,30,\t0,57,\n"
)
FRAMES = ["CDS_by_frame", "exon"]
Values = dict[str, bytes]


def lines_of(data: bytes) -> list[str]:
    """The lines of UTF-8 text."""
    try:
        text = data.removeprefix(MARK).decode()
    except UnicodeDecodeError:
        raise Unreadable("it is not UTF-8") from None
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def read_values(path: Path) -> Values:
    """A number for each base, as bytes, in which NaN equals itself."""
    found = read_signal(path, LENGTHS, "genome.fa", 1, missing="zero").values
    return {name: row.tobytes() for name, row in found.items()}


def bedgraph_truth(data: bytes) -> Values | None:
    """Base by base; None where a name may be a synonym."""
    values: dict[str, list[float]] = {name: [0.0] * length for name, length in LENGTHS.items()}
    taken = set()
    for line in lines_of(data):
        fields = line.split()
        if not fields or line.startswith("#") or fields[0] in ("track", "browser"):
            continue
        name, start, end, text = fields
        if not re.fullmatch("[0-9]+", start) or not re.fullmatch("[0-9]+", end):
            raise Unreadable(f"{start} to {end} are not places")
        number = re.fullmatch(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?", text)
        if not number and text.lower().lstrip("+-") != "nan":
            raise Unreadable(f"{text} is not a number")
        if name not in LENGTHS:
            return None
        value = float(text)
        if not math.isnan(value) and not np.isfinite(np.float64(value).astype(np.float32)):
            raise Unreadable(f"{text} is not a float32")
        for place in range(int(start), int(end)):
            if not math.isnan(value):
                if (name, place) in taken:
                    raise Unreadable(f"{name}:{place} has two values")
                taken.add((name, place))
                values[name][place] = value
    if not taken:
        raise Unreadable("it has no value")
    return {name: np.array(row, np.float32).tobytes() for name, row in values.items()}


def bigwig(path: Path) -> bytes:
    """The values of BEDGRAPH, written to a path and read again as bytes."""
    import pyBigWig

    with pyBigWig.open(str(path), "w") as file:
        file.addHeader(list(LENGTHS.items()))
        file.addEntries(["chr1", "chr1"], [0, 40], ends=[30, 60], values=[2.0, -5e-3])
        file.addEntries(["chr2"], [9], ends=[10], values=[1e6])
        file.addEntries(["1.10"], [0], ends=[90], values=[0.5])
    return path.read_bytes()


def reader(kinds: list[str] | None, **settings: Any) -> Callable[[Path], Values]:
    """Classes of bases, with the settings of `base_classes`."""

    def read(path: Path) -> Values:
        found = base_classes(path, LENGTHS, "genome.fa", kinds=kinds, **settings).values
        return {name: row.tobytes() for name, row in found.items()}

    return read


def _painted(rows: list[tuple[str, range, int, dict[int, int]]]) -> Values:
    """Classes base by base; of rows (record, places, rank, class by place) the lowest rank wins."""
    best: dict[tuple[str, int], tuple[int, int]] = {}
    for record, places, rank, classes in rows:
        for place in places:
            now = best.get((record, place))
            if now is None or rank < now[0]:
                best[record, place] = rank, classes[place]
            elif rank == now[0] and now[1] != classes[place]:
                best[record, place] = rank, IGNORED
    return {
        name: bytes(best.get((name, place), (0, 0))[1] for place in range(length))
        for name, length in LENGTHS.items()
    }


def genes_truth(data: bytes) -> Values | None:
    """CDS by frame (classes 1 to 6), then exons (7, 8); None where a name may be a synonym."""
    rows: list[tuple[str, range, int, dict[int, int]]] = []
    for line in lines_of(data):
        if line.startswith((">", "##FASTA")):
            break
        fields = line.split("\t")
        if not line.strip() or line.startswith("#") or fields[2] not in ("CDS", "exon"):
            continue
        if fields[0] not in LENGTHS:
            return None
        places = range(int(fields[3]) - 1, int(fields[4]))
        minus = {"+": 0, "-": 1}[fields[6]]
        if fields[2] == "exon":
            rows.append((fields[0], places, 1, dict.fromkeys(places, 7 + minus)))
            continue
        order = places[::-1] if minus else places
        phase = int(fields[7])
        classes = {place: 1 + 3 * minus + (i - phase) % 3 for i, place in enumerate(order)}
        rows.append((fields[0], places, 0, classes))
    return _painted(rows)


def classes_truth(data: bytes) -> Values | None:
    """The fourth column, in the order of its sorted values; None where a name is a synonym."""
    found = bed_truth(data)
    if any(name not in LENGTHS for name, *_ in found):
        return None
    kinds = sorted({others[0].strip() for _, _, _, *others in found})
    rows = []
    for name, start, end, *others in found:
        rank = kinds.index(others[0].strip())
        places = range(start, end)
        rows.append((name, places, rank, dict.fromkeys(places, rank + 1)))
    return _painted(rows)


def position_formats(folder: Path) -> Iterator[Format]:
    """Those of this file; `folder` takes what they share."""
    yield Format("s.bedgraph", [BEDGRAPH], read_values, bedgraph_truth)
    if find_spec("pyBigWig") is not None:  # of the extra `tracks`
        # A record's name and length, the index and the data: changed, they are refused.
        values = bedgraph_truth(BEDGRAPH)
        yield Format("s.bw", [bigwig(folder / "seed.bw")], read_values, lambda data: values)
    yield Format("frames.gff3", [GENES], reader(FRAMES), genes_truth)
    yield Format("introns.gtf", [TRANSCRIPTS], reader(["intron", "donor", "acceptor"]))
    yield Format("classes.bed", [CLASSES], reader(None, column=4, stranded=False), classes_truth)
    yield Format("blocks.bed", [BLOCKS], reader([*FRAMES, "intron"]))
