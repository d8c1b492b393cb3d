"""HG38 as the Mamba paper trains on it: an interval file with a split per row, and its number of samples.

Gu and Dao (2023), section 4.3.2 and appendix E.3.1, use the intervals of Enformer (Avsec et al. 2021), as
HyenaDNA (Nguyen et al. 2023) does. Any genome with a file of the same four columns is read the same way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from dnamamba.data.epochs import samples_of
from dnamamba.data.intervals import BedRow, Splits, bed_rows, unknown_record
from dnamamba.data.synonyms import Synonyms
from dnamamba.errors import UserError
from dnamamba.seals import need_table

TRAINING_SEGMENTS = 34_021
SEGMENT_LENGTH = 2**17


def samples_per_epoch(length: int) -> int:
    """Count the samples of `length` bases in an epoch of the paper (appendix E.3.1), without any file."""
    return TRAINING_SEGMENTS * samples_of(SEGMENT_LENGTH, length)


def read_split_intervals(
    path: str | Path, lengths: Mapping[str, int] | None = None, synonyms: Synonyms | None = None
) -> Splits:
    """Read the training, validation and test intervals of a BED file whose column 4 names the split.

    Args:
        path: the file; columns beyond the fourth are ignored.
        lengths: bases of each record in the genome (`Genome.lengths`); without it the names and ends of the
            intervals are not checked.
        synonyms: finds the record that a name means, and can say so; None: any synonym is taken.

    Raises:
        UserError: naming the file and the row: not a BED row, an unknown split or chromosome, an end past the
            end of its chromosome, rows of two splits that share bases. Naming the file: a split without
            rows, most chromosomes missing from the genome.
    """
    need_table(Path(path))
    rows = list(bed_rows(path))
    if lengths is not None:
        synonyms = synonyms or Synonyms(lengths)
        records = synonyms.records_of(row.interval.name for row in rows)
        rows = [
            row._replace(interval=row.interval._replace(name=record))
            for row, record in zip(rows, records, strict=True)
        ]
    for row in rows:
        row.need_one_block(f"{path}, row {row.number}")
        split = row.others[0].strip() if row.others else ""
        if split not in Splits._fields:
            found = f"{split!r} is not a split" if split else "no 4th column"
            raise UserError(f"{path}, row {row.number}: {found}; the 4th column must be train, valid or test")
    splits = Splits(*(tuple(row.interval for row in rows if _split(row) == name) for name in Splits._fields))
    for name, intervals in splits._asdict().items():
        if not intervals:
            raise UserError(f"{path}: no row of the split {name!r}, and {len(rows):,} rows in all")
    if lengths is not None:
        _check_chromosomes(path, rows, lengths)
    _check_overlaps(path, rows)
    return splits


def _split(row: BedRow) -> str:
    return row.others[0].strip()


def _check_chromosomes(path: str | Path, rows: Iterable[BedRow], lengths: Mapping[str, int]) -> None:
    rows = list(rows)
    names = dict.fromkeys(row.interval.name for row in rows)
    missing = [name for name in names if name not in lengths]
    if 2 * len(missing) > len(names):
        raise UserError(
            f"{path} is of another assembly than the FASTA, or names it otherwise: {len(missing)} of its "
            f"{len(names)} chromosomes are not there ({_some(missing)}); the FASTA has {_some(list(lengths))}"
        )
    for row in rows:
        name, _, end = row.interval
        if name not in lengths:
            raise UserError(f"{path}, row {row.number}: {unknown_record(name, lengths)}")
        if end > lengths[name]:
            raise UserError(
                f"{path}, row {row.number}: {name} ends at {lengths[name]:,} and the interval at {end:,}; "
                "is it of this assembly?"
            )


def _check_overlaps(path: str | Path, rows: Sequence[BedRow]) -> None:
    """Refuse rows of two splits that share a base. Rows of one split may: overlapping windows are common."""
    furthest: dict[tuple[str, str], BedRow] = {}
    for row in sorted(rows, key=lambda row: row.interval):
        for split in Splits._fields:
            other = furthest.get((row.interval.name, split))
            if split != _split(row) and other is not None and other.interval.end > row.interval.start:
                raise UserError(
                    f"{path}, row {row.number}: {row.interval.name}:{row.interval.start}-{row.interval.end} "
                    f"is for {_split(row)} and shares bases with row {other.number}, which is for {split}"
                )
        key = row.interval.name, _split(row)
        if key not in furthest or furthest[key].interval.end < row.interval.end:
            furthest[key] = row


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
