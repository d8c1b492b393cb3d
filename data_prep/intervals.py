"""Make an interval file: which intervals of a genome train, validate and test.

    python -m data_prep.intervals FASTA OUT.bed --bed FILE
    python -m data_prep.intervals FASTA OUT.bed --valid chr8,chrX --test chr9:0-5000000 [--length 131072]

The first checks every row of a file in the format of Basenji against the FASTA and writes its rows in the
order of the genome. The second makes one: whole chromosomes are held out, or intervals of them (start from 0,
end not included), and all are cut into segments of one length that do not overlap and have no run of 1,000 N
or more. Either way OUT.bed has four columns: chromosome, start, end, and train, valid or test.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

from dnamamba.data.alphabet import get_alphabet
from dnamamba.data.fasta import Genome
from dnamamba.data.hg38 import SEGMENT_LENGTH, read_split_intervals
from dnamamba.data.intervals import Interval, Splits, stretches, unknown_record, whole
from dnamamba.errors import UserError
from dnamamba.seals import write_table

N_RUN = 1000


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.intervals", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("fasta", type=Path)
    parser.add_argument("out", type=Path)
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--bed", type=Path, help="a BED file with a split in its fourth column")
    how.add_argument("--valid", type=_names, help="chromosomes or name:start-end to validate on, with commas")
    parser.add_argument("--test", type=_names, help="the same to test on, with --valid")
    parser.add_argument(
        "--length", type=int, default=SEGMENT_LENGTH, help="bases of a segment, with --valid (%(default)s)"
    )
    options = parser.parse_args(arguments)
    if options.valid and not options.test:
        parser.error("--valid needs --test")
    try:
        genome = Genome(options.fasta, get_alphabet("dna"))
        if options.bed:
            splits = read_split_intervals(options.bed, genome.lengths)
        else:
            splits = split_by_chromosome(
                genome, valid=options.valid, test=options.test, length=options.length
            )
        write_split_intervals(options.out, splits, genome.names)
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{options.out}  {summary(splits)}")
    return 0


def split_by_chromosome(
    genome: Genome, *, valid: Sequence[str], test: Sequence[str], length: int = SEGMENT_LENGTH
) -> Splits:
    """Cut a genome into segments of `length` bases, split by chromosomes or intervals (`chr9:0-5000000`).

    Raises:
        UserError: a chromosome that is unknown, bases that are named twice or not there, a split without a
            segment.
    """
    if length < 1:
        raise UserError(f"--length: must be at least 1 (got {length})")
    held_out = [[_region(text, genome) for text in texts] for texts in (valid, test)]
    together = sorted(region for regions in held_out for region in regions)
    for before, after in pairwise(together):
        if before.name == after.name and before.end > after.start:
            raise UserError(f"--valid and --test name bases of {after.name} twice")
    train = [rest for record in whole(genome.lengths, genome.names) for rest in _without(record, together)]
    splits = Splits(
        *(
            tuple(
                segment
                for region in regions
                for stretch in stretches(region, genome, N_RUN)
                for segment in _cut(stretch, length)
            )
            for regions in (train, *held_out)
        )
    )
    for split, segments in splits._asdict().items():
        if not segments:
            raise UserError(
                f"{genome.path}: no interval without N of the split {split!r} has {length:,} bases; "
                "give other chromosomes or a smaller --length"
            )
    return splits


def write_split_intervals(path: Path, splits: Splits, names: Sequence[str]) -> None:
    """Write the intervals of all splits as a BED file of four columns, in the order of the chromosomes.

    Its checksum lies next to it.
    """
    order = {name: place for place, name in enumerate(names)}
    rows = sorted(
        (order[name], start, end, name, split)
        for split, intervals in splits._asdict().items()
        for name, start, end in intervals
    )
    text = "".join(f"{name}\t{start}\t{end}\t{split}\n" for _, start, end, name, split in rows)
    write_table(path, text)


def summary(splits: Splits) -> str:
    """Return the number of segments and bases of each split, in a line."""
    return "; ".join(
        f"{name} {len(intervals):,} segments, {sum(interval.length for interval in intervals):,} bases"
        for name, intervals in splits._asdict().items()
    )


def _region(text: str, genome: Genome) -> Interval:
    """Parse a whole chromosome, or `name:start-end`."""
    name, _, bounds = text.rpartition(":")
    numbers = re.fullmatch(r"([0-9]{1,18})-([0-9]{1,18})", bounds)
    if text in genome.lengths or not numbers:
        name, start, end = text, 0, genome.lengths.get(text, 0)
    else:
        start, end = map(int, numbers.groups())
    if name not in genome.lengths:
        raise UserError(f"{genome.path}: {unknown_record(name, genome.lengths)}")
    if not start < end <= genome.lengths[name]:
        raise UserError(
            f"{genome.path}: {name} has {genome.lengths[name]:,} bases, and {text} is not in them"
        )
    return Interval(name, start, end)


def _without(record: Interval, holes: Iterable[Interval]) -> Iterable[Interval]:
    """Return a record without some of its intervals, which are sorted and do not overlap."""
    start = record.start
    for hole in holes:
        if hole.name == record.name:
            if start < hole.start:
                yield Interval(record.name, start, hole.start)
            start = hole.end
    if start < record.end:
        yield Interval(record.name, start, record.end)


def _cut(interval: Interval, length: int) -> Iterable[Interval]:
    for start in range(interval.start, interval.end - length + 1, length):
        yield Interval(interval.name, start, start + length)


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


if __name__ == "__main__":
    sys.exit(main())
