"""A VCF file in, the same rows in the same order out, with scores."""

from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import dnamamba
from dnamamba.checkpoint import model_hash
from dnamamba.data.compression import writing
from dnamamba.data.fasta import Genome
from dnamamba.data.intervals import unknown_record
from dnamamba.data.variants import Vcf, VcfRow
from dnamamba.errors import UserError
from dnamamba.escaping import cell
from dnamamba.inference.effects import Effects, Site, Windows, score_sites
from dnamamba.inference.variants import REF_MISMATCH, Unscored, check_alts, check_ref, site_of
from dnamamba.models import LanguageModel

SUFFIXES = (".vcf", ".vcf.gz", ".tsv")
LLR, DISTANCE, UNSCORED = b"DNAMAMBA_LLR", b"DNAMAMBA_DISTANCE", b"DNAMAMBA_UNSCORED"
CHECKED_BEFORE_STOPPING = 100  # rows, of which more than half must have the FASTA's REF
LEAST_ROWS = 10  # fewer say nothing about an assembly
SHIFTED = 0.9  # of the mismatches; more that fit one base to a side say that all positions are off by one
SHOWN = 10  # mismatches written out

_INFO = (
    b'##INFO=<ID=%s,Number=A,Type=Float,Description="Log-likelihood ratio of the window with ALT to '
    b'the window with REF, in nats; below 0: ALT is less likely">\n'
    b'##INFO=<ID=%s,Number=A,Type=Float,Description="Euclidean distance between the mean embeddings of '
    b'the two windows">\n'
    b'##INFO=<ID=%s,Number=1,Type=String,Description="Why there is no score: ref_mismatch, unknown_base or '
    b'symbolic">\n'
) % (LLR, DISTANCE, UNSCORED)


class Plan(NamedTuple):
    """What can be scored of a row.

    Attributes:
        alts: which of its alternative alleles, by number.
        problems: what keeps each of them from being scored, if so; of a row without any, the row's own.
    """

    alts: list[int]
    problems: list[Unscored | None]

    @property
    def unscored(self) -> Unscored | None:
        """The first problem."""
        return next(filter(None, self.problems), None)


class Checked(NamedTuple):
    """A file's rows, its alternative alleles to score, and rows with alleles that can't be, by the reason."""

    rows: int
    alleles: int
    unscored: dict[str, int]


def plan(genome: Genome, row: VcfRow, where: str) -> Plan:
    """What can be scored of a row.

    Raises:
        UserError: its record is not in the FASTA.
    """
    if row.name not in genome.lengths:
        raise UserError(f"{where}: {genome.path} has {unknown_record(row.name, genome.lengths)}")
    found = check_ref(genome, row.name, row.position, row.ref)
    if found and (found.reason == REF_MISMATCH or not row.alts):
        return Plan([], [found] * max(1, len(row.alts)))
    # What is symbolic can't be scored whatever REF is: often N, whose base nobody needs to know.
    problems = [check_alts([alt]) if alt is None else found or check_alts([alt]) for alt in row.alts]
    return Plan([i for i, problem in enumerate(problems) if problem is None], problems)


def check(vcf: Vcf, genome: Genome, report: Callable[[str], None]) -> Checked:
    """Read all rows before the first is scored.

    Args:
        report: is called with a line for each of the first rows whose REF is not the FASTA's.

    Raises:
        UserError: a row that is no row, a record unknown to the FASTA, or most REF are not the FASTA's.
    """
    rows = alleles = 0
    unscored: dict[str, int] = {}
    fits = dict.fromkeys((-1, 1), 0)  # mismatches whose REF is there so many bases on
    for row in vcf.rows():
        where = f"{vcf.path}, line {row.number}"
        can = plan(genome, row, where)
        rows += 1
        alleles += len(can.alts)
        if can.unscored:
            reason = can.unscored.reason
            unscored[reason] = unscored.get(reason, 0) + 1
            if reason == REF_MISMATCH:
                for shift in fits:
                    fits[shift] += check_ref(genome, row.name, row.position + shift, row.ref) is None
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
    model: LanguageModel,
    vcf: Vcf,
    genome: Genome,
    windows: Windows,
    bases_per_batch: int | None,
    out: Path,
    advance: Callable[[int], None],
) -> None:
    """Write the scored rows of a file that `check` has passed to `out`, by whose name they are VCF or TSV.

    Args:
        advance: is called with the number of rows written since the last call.
    """
    waiting: deque[tuple[VcfRow, Plan]] = deque()

    def sites() -> Iterator[Site]:
        for row in vcf.rows():
            can = plan(genome, row, f"{vcf.path}, line {row.number}")
            waiting.append((row, can))
            if can.alts:
                alts = [alt for i in can.alts if (alt := row.alts[i]) is not None]
                yield site_of(genome, row.name, row.position, row.ref, alts)

    tsv = out.name.endswith(".tsv")
    line = _tsv_lines if tsv else _vcf_line
    with writing(out) as file:
        file.write(_tsv_header(vcf) if tsv else _vcf_header(vcf, model, windows))
        for effects in score_sites(model, genome, sites(), windows, bases_per_batch):
            before = len(waiting)
            while not waiting[0][1].alts:
                file.write(line(*waiting.popleft(), None))
            file.write(line(*waiting.popleft(), effects))
            advance(before - len(waiting))
        for row, can in waiting:
            file.write(line(row, can, None))
        advance(len(waiting))


def _vcf_header(vcf: Vcf, model: LanguageModel, windows: Windows) -> bytes:
    said = (
        f"##dnamamba=<version={dnamamba.__version__},model={model_hash(model)},window={windows.window},"
        f'shifts="{",".join(map(str, windows.shifts))}",strand={windows.strand}>\n'
    )
    *meta, names = vcf.header
    ours = tuple(b"##INFO=<ID=" + name + b"," for name in (LLR, DISTANCE, UNSCORED))
    if any(line.startswith(ours) for line in meta):
        raise UserError(f"{vcf.path} has INFO fields of dnamamba already: score the file it was made from")
    return b"".join([*meta, _INFO, said.encode(), names if names.endswith(b"\n") else names + b"\n"])


def _vcf_line(row: VcfRow, can: Plan, effects: Effects | None) -> bytes:
    fields = [] if row.columns[7] == b"." else [row.columns[7]]
    if effects is not None:
        for name, values in zip((LLR, DISTANCE), _by_allele(row, can, effects), strict=True):
            fields.append(name + b"=" + ",".join(value or "." for value in values).encode())
    if can.unscored:
        fields.append(UNSCORED + b"=" + can.unscored.reason.encode())
    return b"\t".join([*row.columns[:7], b";".join(fields) or b".", *row.columns[8:]]) + row.end


def _tsv_header(vcf: Vcf) -> bytes:
    return b"\t".join([*map(_tsv_cell, vcf.names), b"allele", b"llr", b"distance", b"unscored"]) + b"\n"


def _tsv_lines(row: VcfRow, can: Plan, effects: Effects | None) -> bytes:
    """A line for each alternative allele, or one for a row that has none."""
    lines = []
    scores = _by_allele(row, can, effects) if effects is not None else [[""] * max(1, len(row.alts))] * 2
    for i, (allele, llr, distance) in enumerate(zip(row.columns[4].split(b","), *scores, strict=True)):
        problem = can.problems[i] if can.problems else None
        reason = problem.reason if problem else "."
        added = [allele, *(text.encode() for text in (llr or "NA", distance or "NA", reason))]
        lines.append(b"\t".join(map(_tsv_cell, [*row.columns, *added])) + b"\n")
    return b"".join(lines)


def _tsv_cell(column: bytes) -> bytes:
    """As `dnamamba.escaping.cell`; most columns need nothing, and there may be thousands of genotypes."""
    if column[:1] in b"=@+-" or not (column.isascii() and column.decode().isprintable()):
        return cell(column.decode("utf-8", "surrogateescape")).encode()
    return column


def _by_allele(row: VcfRow, can: Plan, effects: Effects) -> list[list[str]]:
    """Log-likelihood ratios and distances as text, empty for alleles without."""
    texts = []
    for values in effects:
        text = [""] * len(row.alts)
        for i, value in zip(can.alts, values, strict=True):
            text[i] = f"{value:.6g}"
        texts.append(text)
    return texts
