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
from dnamamba.data.intervals import unknown_record
from dnamamba.data.regions import UNKNOWN
from dnamamba.data.symbolic import Event, event_of
from dnamamba.data.synonyms import Synonyms
from dnamamba.data.variants import Vcf, VcfRow
from dnamamba.errors import UserError
from dnamamba.escaping import printable
from dnamamba.inference.answers import Answers
from dnamamba.inference.effects import SITES, Effects, Site, Windows, judge, score_sites
from dnamamba.inference.score_tables import SUFFIXES as TABLES
from dnamamba.inference.score_tables import table
from dnamamba.inference.variants import (
    REF_MISMATCH,
    SYMBOLIC,
    SYMBOLIC_BASES,
    UNKNOWN_RECORD,
    Unscored,
    check_change,
    check_event,
    check_ref,
    site_of,
    spelled_site,
)

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
        'ref_mismatch, unknown_base, symbolic, too_long, unknown_record or same_as_ref">\n'
    ).encode()


class Plan(NamedTuple):
    """What can be scored of a row.

    Attributes:
        alts: which of its alternative alleles, by number.
        problems: what keeps each of them from being scored, if so; of a row without any, the row's own.
        record: of the FASTA, where it lies.
        events: what those alleles do that are symbolic, by number.
    """

    alts: list[int]
    problems: list[Unscored | None]
    record: str
    events: dict[int, Event] = {}  # noqa: RUF012  # never changed

    @property
    def unscored(self) -> Unscored | None:
        """The first problem."""
        return next(filter(None, self.problems), None)


class Checked(NamedTuple):
    """A file's rows, its alternative alleles to score, and rows with alleles that can't be, by the reason."""

    rows: int
    alleles: int
    unscored: dict[str, int]


class Records:
    """Finds the records of a FASTA file that a VCF file's rows lie on.

    Args:
        genome: the FASTA.
        unknown: rows on other records: `error`, or `skip`, which leaves them without a score.
        symbolic: the most bases of a `<DEL>`, `<DUP>` or `<INV>` that is spelled out.

    Raises:
        UserError: another word, or a negative number.
    """

    key = "unknown"  # of the command, for messages

    def __init__(self, genome: Genome, unknown: str = "error", symbolic: int = SYMBOLIC_BASES) -> None:
        if symbolic < 0:
            raise UserError(f"symbolic: must be at least 0 bases (got {symbolic}); 0 spells out nothing")
        if unknown not in UNKNOWN:
            raise UserError(f"unknown: must be {' or '.join(UNKNOWN)} (got {unknown!r})")
        self.genome, self.unknown, self.symbolic = genome, unknown, symbolic
        self.synonyms = Synonyms(genome.lengths)

    def plan(self, row: VcfRow, where: str) -> Plan:
        """Return what can be scored of a row.

        Raises:
            UserError: its record is not in the FASTA.
        """
        record, genome, each = self.synonyms.find(row.name), self.genome, max(1, len(row.alts))
        if record is None:
            said = unknown_record(row.name, genome.lengths)
            if self.unknown == "error":
                raise UserError(f"{where}: {genome.path} has {said} ({self.key}=skip marks such rows)")
            return Plan([], [Unscored(UNKNOWN_RECORD, f"the FASTA has {said}")] * each, "")
        found = check_ref(genome, record, row.position, row.ref)
        if found and (found.reason == REF_MISMATCH or not row.alts):
            return Plan([], [found] * each, record)
        problems: list[Unscored | None] = []
        events: dict[int, Event] = {}
        for number, alt in enumerate(row.alts):
            if alt is not None:
                problems.append(found or check_change(row.ref, alt))
                continue
            # Of a symbolic allele REF is often N: its base is the FASTA's.
            event = event_of(row, number)
            if isinstance(event, str):
                problems.append(Unscored(SYMBOLIC, event))
                continue
            problems.append(check_event(genome, record, row.position, event, self.symbolic))
            events[number] = event
        return Plan([i for i, problem in enumerate(problems) if problem is None], problems, record, events)

    def site(self, row: VcfRow, can: Plan) -> Site:
        """Build the site of a row's alleles that can be scored: those of `plan`, with `alts`."""
        alts = [can.events.get(i) or row.alts[i] for i in can.alts]
        known = [alt for alt in alts if alt is not None]
        if not any(isinstance(alt, Event) for alt in known):
            letters = [alt for alt in known if isinstance(alt, str)]
            return site_of(self.genome, can.record, row.position, row.ref, letters)
        return spelled_site(self.genome, can.record, row.position, row.ref, known)


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
        advance: is called with the number of rows written since the last call.
    """
    said = quantity(model, label)
    with _rows(out, vcf, said, lambda: _vcf_header(vcf, model, windows, said)) as write:
        for some in _read_together(vcf, records):
            sites = [records.site(row, can) for row, can in some if can.alts]
            effects = score_sites(model, records.genome, sites, windows, bases_per_batch, label)
            for row, can in some:
                write(row, can, next(effects) if can.alts else None)
            advance(len(some))


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
