"""A VCF file in, the same rows in the same order out, with scores."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import dnamamba
from dnamamba.checkpoint import Model, model_hash
from dnamamba.data.compression import writing
from dnamamba.data.fasta import Genome
from dnamamba.data.variants import Vcf, VcfRow
from dnamamba.errors import UserError
from dnamamba.escaping import printable
from dnamamba.inference.answers import Answers
from dnamamba.inference.effects import SITES, Effects, Windows, judge, score_sites
from dnamamba.inference.score_tables import SUFFIXES as TABLES
from dnamamba.inference.score_tables import table
from dnamamba.inference.variants import REF_MISMATCH, check_ref
from dnamamba.inference.vcf_rows import Plan, Records

SUFFIXES = (".vcf", ".vcf.gz", *TABLES)
LLR, EFFECT, DISTANCE, UNSCORED = (b"DNAMAMBA_" + name for name in b"LLR EFFECT DISTANCE UNSCORED".split())
_OURS = re.compile(rb"(?:^##INFO=<ID=|^|;)DNAMAMBA_(?:LLR|EFFECT|DISTANCE|UNSCORED)[,=]")
CHECKED_BEFORE_STOPPING = 100  # rows, of which more than half must have the FASTA's REF
LEAST_ROWS = 10  # fewer say nothing about an assembly
SHIFTED = 0.9  # of the mismatches; more that fit one base to a side say that all positions are off by one
SHOWN = 10  # mismatches written out
MOST_ROWS, MOST_BYTES = 1 << 14, 1 << 26  # that wait in memory for rows to be scored with


class Quantity(NamedTuple):
    """What is written of an effect.

    Attributes:
        info: key of the INFO field.
        column: of a TSV.
        meaning, distance: for the header of a VCF.
    """

    info: bytes
    column: str
    meaning: str
    distance: str


LIKELIHOOD = Quantity(
    LLR,
    "llr",
    "Log-likelihood ratio of the window with ALT to "
    "the window with REF, in nats; below 0: ALT is less likely",
    "Euclidean distance between the mean embeddings of the two windows",
)


def quantity(model: Model, label: str | None = None) -> Quantity:
    """Describe what `model` says of a variant; see `dnamamba.inference.effects`.

    Raises:
        UserError: a label that the model does not have, or several and none was named.
    """
    found = judge(model, label=label)
    if not isinstance(found, Answers):
        return LIKELIHOOD
    name = printable(found.label).replace("\\", "\\\\").replace('"', '\\"')
    return Quantity(
        EFFECT,
        "effect",
        f"Answer for {name} to the window with ALT minus that to the window with REF, in {found.unit}",
        "Euclidean distance between the logits of the two windows",
    )


def _info(said: Quantity) -> bytes:
    return (
        f'##INFO=<ID={said.info.decode()},Number=A,Type=Float,Description="{said.meaning}">\n'
        f'##INFO=<ID={DISTANCE.decode()},Number=A,Type=Float,Description="{said.distance}">\n'
        f'##INFO=<ID={UNSCORED.decode()},Number=1,Type=String,Description="Why there is no score: '
        'ref_mismatch, unknown_base, symbolic, too_long, unknown_record, same_as_ref or other_length">\n'
    ).encode()


class Checked(NamedTuple):
    """A file's rows, its alternative alleles to score, and rows with alleles that can't be, by the reason."""

    rows: int
    alleles: int
    unscored: dict[str, int]


def check(vcf: Vcf, records: Records, report: Callable[[str], None]) -> Checked:
    """Read all rows before the first is scored.

    Args:
        vcf: the file.
        records: of the FASTA.
        report: is called with a line for each of the first rows whose REF is not the FASTA's.

    Raises:
        UserError: a row that is not a row, a record unknown to the FASTA, or most REF are not the FASTA's.
    """
    genome = records.genome
    rows = alleles = 0
    unscored: dict[str, int] = {}
    fits = dict.fromkeys((-1, 1), 0)  # mismatches whose REF is there so many bases on
    for row in vcf.rows():
        where = f"{vcf.path}, line {row.number}"
        can = records.plan(row, where)
        rows += 1
        alleles += len(can.alts)
        if can.unscored:
            reason = can.unscored.reason
            unscored[reason] = unscored.get(reason, 0) + 1
            if reason == REF_MISMATCH:
                for shift in fits:
                    fits[shift] += check_ref(genome, can.record, row.position + shift, row.ref) is None
                if unscored[reason] <= SHOWN:
                    report(f"{where}, {row.name}:{row.position}: {can.unscored.text}; not scored")
        if rows == CHECKED_BEFORE_STOPPING:
            _stop_if_another_assembly(vcf, genome, rows, unscored, fits)
    _stop_if_another_assembly(vcf, genome, rows, unscored, fits)
    return Checked(rows, alleles, unscored)


def _stop_if_another_assembly(
    vcf: Vcf, genome: Genome, rows: int, unscored: dict[str, int], fits: dict[int, int]
) -> None:
    wrong = unscored.get(REF_MISMATCH, 0)
    if rows >= LEAST_ROWS and wrong > rows / 2:
        shift = max(fits, key=fits.__getitem__)
        if fits[shift] >= SHIFTED * wrong:
            side, cure = ("after", "add 1 to") if shift > 0 else ("before", "subtract 1 from")
            raise UserError(
                f"{vcf.path}: POS is off by one: in {fits[shift]:,} of {wrong:,} rows whose REF differs from "
                f"{genome.path} it is the base {side} POS (a VCF counts from 1); {cure} every POS"
            )
        raise UserError(
            f"{vcf.path}: REF differs from {genome.path} in {wrong:,} of the first {rows:,} rows: "
            "the variants are of another assembly"
        )


def score_vcf(
    model: Model,
    vcf: Vcf,
    records: Records,
    windows: Windows,
    bases_per_batch: int | None,
    out: Path,
    advance: Callable[[int], None],
    label: str | None = None,
) -> None:
    """Write the scored rows of a file that `check` has passed to `out`: VCF or a table, by its name.

    Args:
        model: pretrained or fine-tuned.
        vcf: the file.
        records: of the FASTA.
        windows: how to look at a variant.
        bases_per_batch, label: see `dnamamba.inference.effects.score_sites`.
        out: the file to write.
        advance: is called with the number of rows done since the last call.
    """
    said = quantity(model, label)
    with _rows(out, vcf, said, lambda: _vcf_header(vcf, model, windows, said)) as write:
        for some in _read_together(vcf, records):
            sites = [records.site(row, can) for row, can in some if can.alts]
            effects = score_sites(model, records.genome, sites, windows, bases_per_batch, label, advance)
            for row, can in some:
                write(row, can, next(effects) if can.alts else None)
            advance(len(some) - len(sites))


def _read_together(vcf: Vcf, records: Records) -> Iterator[list[tuple[VcfRow, Plan]]]:
    """Yield rows until `SITES` of them can be scored, or as many as may wait for that in memory."""
    some: list[tuple[VcfRow, Plan]] = []
    sites = size = 0
    for row in vcf.rows():
        can = records.plan(row, f"{vcf.path}, line {row.number}")
        some.append((row, can))
        sites += bool(can.alts)
        size += sum(map(len, row.columns))
        if sites == SITES or len(some) == MOST_ROWS or size > MOST_BYTES:
            yield some
            some, sites, size = [], 0, 0
    if some:
        yield some


@contextmanager
def _rows(
    out: Path, vcf: Vcf, said: Quantity, header: Callable[[], bytes]
) -> Iterator[Callable[[VcfRow, Plan, Effects | None], None]]:
    """Give a function that writes a row, to a VCF or a table."""
    if out.suffix in TABLES:
        names = [*vcf.names, b"allele", said.column.encode(), b"distance", b"unscored"]
        with table(out, names) as add:

            def write_cells(row: VcfRow, can: Plan, effects: Effects | None) -> None:
                for cells in _table_rows(row, can, effects):
                    add(cells)

            yield write_cells
        return
    with writing(out) as file:
        file.write(header())

        def write_line(row: VcfRow, can: Plan, effects: Effects | None) -> None:
            file.write(_vcf_line(said, row, can, effects))

        yield write_line


def _vcf_header(vcf: Vcf, model: Model, windows: Windows, said: Quantity) -> bytes:
    made = (
        f"##dnamamba=<version={dnamamba.__version__},model={model_hash(model)},window={windows.window},"
        f'shifts="{",".join(map(str, windows.shifts))}",strand={windows.strand},share={windows.share}>\n'
    )
    *meta, names = vcf.header
    if any(map(_OURS.search, meta)):
        raise UserError(f"{vcf.path} has INFO fields of dnamamba already: score the file it was made from")
    return b"".join([*meta, _info(said), made.encode(), names if names.endswith(b"\n") else names + b"\n"])


def _vcf_line(said: Quantity, row: VcfRow, can: Plan, effects: Effects | None) -> bytes:
    fields = [] if row.columns[7] in (b".", b"") else [row.columns[7]]
    if _OURS.search(row.columns[7]):
        raise UserError(f"line {row.number}: has an INFO field of dnamamba already; remove it")
    if effects is not None:
        for name, values in zip((said.info, DISTANCE), _by_allele(row, can, effects), strict=True):
            fields.append(name + b"=" + ",".join(value or "." for value in values).encode())
    if can.unscored:
        fields.append(UNSCORED + b"=" + can.unscored.reason.encode())
    return b"\t".join([*row.columns[:7], b";".join(fields) or b".", *row.columns[8:]]) + row.end


def _table_rows(row: VcfRow, can: Plan, effects: Effects | None) -> Iterator[list[bytes]]:
    """Yield the cells of each alternative allele, or one row of them where there is none."""
    scores = _by_allele(row, can, effects) if effects is not None else [[""] * max(1, len(row.alts))] * 2
    for i, (allele, value, distance) in enumerate(zip(row.columns[4].split(b","), *scores, strict=True)):
        problem = can.problems[i] if can.problems else None
        reason = problem.reason if problem else "."
        added = (text.encode() for text in (value or "NA", distance or "NA", reason))
        yield [*row.columns, allele, *added]


def _by_allele(row: VcfRow, can: Plan, effects: Effects) -> list[list[str]]:
    """Return log-likelihood ratios and distances as text, empty for alleles without."""
    texts = [dict(zip(can.alts, (f"{value:.6g}" for value in values), strict=True)) for values in effects]
    return [[text.get(i, "") for i in range(len(row.alts))] for text in texts]
