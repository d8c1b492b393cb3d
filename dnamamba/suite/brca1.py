"""Saturation genome editing of BRCA1: which of 3,893 single-base changes lose the gene's function?"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dnamamba.data.alphabet import get_alphabet
from dnamamba.data.fasta import Genome
from dnamamba.data.spreadsheets import sheet_rows
from dnamamba.errors import UserError
from dnamamba.models import LanguageModel
from dnamamba.suite.base import Published, Row, Source, Suite
from dnamamba.suite.loci import Change, Loci, auroc, likelihood_ratios, markov_ratios, transversions

TABLE = "notebooks/brca1/41586_2018_461_MOESM3_ESM.xlsx"
CHROMOSOME = "notebooks/brca1/GRCh37.p13_chr17.fna.gz"
RECORDS = ("NC_000017.10", "chr17", "17")
WINDOW = 8192
HEADER_ROW = 3  # of the sheet, from 1
COLUMNS = ("position (hg19)", "reference", "alt", "func.class", "CADD.score", "phyloP (mammalian)")
# Positions of two exons are thousands of bases apart; within an exon a few were not measured.
GAP = 100
ORDER = 5


class Measured(NamedTuple):
    """A row of the table: a change of the plus strand, whether function is lost, other predictors' scores."""

    change: Change
    lost: bool
    cadd: float
    phylop: float


class Brca1(Suite):
    """Does a change lose the function of BRCA1? The log-likelihood ratio of the change says, untrained.

    `genome` reads 8,192 bases of chromosome 17 around each change, as Evo 2 was measured. `exons` needs the
    table alone: each of the 13 exons with its flanks as the table spells them, unmeasured bases as N.
    """

    name = "brca1"
    metric = "auroc"
    protocols = ("zero_shot",)
    tasks = ("genome", "exons")
    split = "nothing is trained; all measured changes are scored, loss of function against the rest"
    part = True
    sources = (
        Source(
            TABLE,
            "0100fc651b6ec6015f02a5813660afdcf9cf3969790992104e99e74f7348d0fd",
            "the repository ArcInstitute/evo2 on GitHub (Findlay et al. 2018, Nature 562:217, table S1)",
        ),
    )
    published = (
        Published(
            "Evo 2 1B",
            "zero_shot",
            0.73,
            "ArcInstitute/evo2, notebooks/brca1/brca1_zero_shot_vep.ipynb; windows of 8,192 bases",
            task="genome",
        ),
    )

    def zero_shot(self, model: LanguageModel, seed: int) -> Row:
        """Score changes: one that the model finds unlikely counts as a loss of function."""
        rows = self._rows()
        changes = [row.change for row in rows]
        genome: Genome
        if self.task == "exons":
            exons, changes = exons_of(self._rows(whole=True), changes)
            genome = Loci(exons, model.config.alphabet)
        else:
            genome = self._chromosome(model.config.alphabet)
            (name,) = [one for one in genome.names if one in RECORDS][:1] or [genome.names[0]]
            changes = [change._replace(name=name) for change in changes]
        return self._row("zero_shot", "", -likelihood_ratios(model, genome, changes, WINDOW), rows, seed)

    def baselines(self, seed: int) -> Sequence[Row]:
        """Score a Markov model of the exons, transversions, and two columns of the table."""
        rows = self._rows()
        exons, changes = exons_of(self._rows(whole=True), [row.change for row in rows])
        markov = -markov_ratios(ORDER, Loci(exons, "dna"), changes)
        found = [
            self._row("baseline", f"Markov order {ORDER} of the exons", markov, rows, seed),
            self._row("baseline", "transversions", transversions(changes), rows, seed),
        ]
        for name, column in (("CADD", "cadd"), ("phyloP, mammals", "phylop")):
            scores = np.array([getattr(row, column) for row in rows])
            known = np.flatnonzero(np.isfinite(scores))
            kept = [rows[i] for i in known]
            note = "a column of the table; not from sequence alone"
            found.append(replace(self._row("baseline", name, scores[known], kept, seed), note=note))
        return found

    def _row(self, protocol: str, model: str, scores: Any, rows: Sequence[Measured], seed: int) -> Row:
        value, low, high = auroc(scores, np.array([row.lost for row in rows]), self.bootstrap, seed)
        return Row(protocol, model, self.metric, value, low, high, len(rows))

    def _rows(self, whole: bool = False) -> list[Measured]:
        rows = read_measured(Path(self.files, TABLE).expanduser())
        if whole or self.examples is None or self.examples >= len(rows):
            return rows
        return [rows[i] for i in np.linspace(0, len(rows) - 1, self.examples).astype(np.int64)]

    def _chromosome(self, alphabet: str) -> Genome:
        path = Path(self.files, CHROMOSOME).expanduser()
        if not path.is_file():
            raise UserError(
                f"{path}: there is no such file; fetch it from the repository ArcInstitute/evo2 on "
                "GitHub, or set task=exons, which needs the table alone"
            )
        return Genome(path, get_alphabet(alphabet))


def read_measured(path: Path) -> list[Measured]:
    """Read the changes of the table, unchanged.

    Raises:
        UserError: openpyxl is not installed, or a column is not there.
    """
    header, *lines = sheet_rows(path, HEADER_ROW) or [()]
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise UserError(f"{path}: no column {missing[0]!r} in row {HEADER_ROW}; fetch the table anew")
    places = [header.index(name) for name in COLUMNS]
    rows = []
    for line in lines:
        if line[places[0]] is None:
            continue
        position, ref, alt, kind, cadd, phylop = (line[place] for place in places)
        change = Change("17", int(position), str(ref), str(alt))
        rows.append(Measured(change, kind == "LOF", _number(cadd), _number(phylop)))
    return rows


def exons_of(rows: Sequence[Measured], changes: Sequence[Change]) -> tuple[dict[str, str], list[Change]]:
    """Return the table's sequences by name, and the changes with their positions in them.

    Args:
        rows: of the whole table.
        changes: with places on the chromosome.
    """
    bases = {row.change.position: row.change.ref for row in rows}
    places = np.array(sorted(bases))
    groups = np.split(places, np.flatnonzero(np.diff(places) > GAP) + 1)
    exons: dict[str, str] = {}
    moved: dict[int, tuple[str, int]] = {}
    for number, group in enumerate(groups, start=1):
        first, last = int(group[0]), int(group[-1])
        exons[f"exon_{number}"] = "".join(bases.get(place, "N") for place in range(first, last + 1))
        moved |= {place: (f"exon_{number}", place - first + 1) for place in range(first, last + 1)}
    return exons, [Change(*moved[one.position], one.ref, one.alt) for one in changes]


def _number(cell: Any) -> float:
    return float(cell) if isinstance(cell, int | float) else float("nan")
