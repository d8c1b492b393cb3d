"""Saturation mutagenesis of 21 human regulatory elements in reporter assays: how much does a change do?"""

import csv
import gzip
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dnamamba.errors import UserError
from dnamamba.models import LanguageModel
from dnamamba.suite.base import Published, Row, Source, Suite
from dnamamba.suite.loci import Change, Loci, likelihood_ratios, markov_ratios, mean_spearman, transversions

TABLE = "data/elements.tsv.gz"
RELEASE = "GRCh38"  # of two that hold the same measurements
FEWEST_TAGS = 10  # barcodes behind a measurement, as the authors filter
WINDOW = 2048  # more than any element has
ORDER = 5
LETTERS = "ACGT"
Experiments = dict[str, tuple[list[Change], NDArray[np.float64]]]


class SaturationMpra(Suite):
    """Is a change that a model finds unlikely one that moves expression, up or down?

    The rank correlation of -log-likelihood ratio and |log2 effect|, the mean over 29 experiments. The
    elements are read as the table spells them, without the genome around; deletions are left out.
    """

    name = "mpra"
    metric = "spearman"
    protocols = ("zero_shot",)
    split = "nothing is trained; all single-base changes with ten tags or more, by experiment"
    part = True
    sources = (
        Source(
            TABLE,
            "fec2eed91fe27af3aae07ebce2eca65e9bad4bb6abba5d8c27f478887dd7b134",
            "the repository kircherlab/MPRA_SaturationMutagenesis on GitHub (Kircher et al. 2019, "
            "Nat. Commun. 10:3583)",
        ),
    )

    published = (
        Published(
            "human_1m4_2p10",
            "zero_shot",
            0.0141,
            "dnamamba, measured 2026-11-28 on a CPU, examples=1450",
            -0.0371,
            0.0638,
        ),
    )

    def zero_shot(self, model: LanguageModel, seed: int) -> Row:
        """Score the mean over experiments; an element that several of them measured is read once."""
        elements, experiments = self._read()
        changes = sorted({one for group, _ in experiments.values() for one in group})
        scores = -likelihood_ratios(model, Loci(elements, model.config.alphabet), changes, WINDOW)
        return self._row("zero_shot", "", dict(zip(changes, scores.tolist(), strict=True)), experiments, seed)

    def baselines(self, seed: int) -> Sequence[Row]:
        """Score a Markov model of the elements, and transversions."""
        elements, experiments = self._read()
        changes = sorted({one for group, _ in experiments.values() for one in group})
        rows = []
        for name, scores in (
            (f"Markov order {ORDER} of the elements", -markov_ratios(ORDER, Loci(elements, "dna"), changes)),
            ("transversions", transversions(changes)),
        ):
            by_change = dict(zip(changes, scores.tolist(), strict=True))
            rows.append(self._row("baseline", name, by_change, experiments, seed))
        return rows

    def _row(
        self, protocol: str, model: str, scores: dict[Change, float], experiments: Experiments, seed: int
    ) -> Row:
        groups = [
            (np.array([scores[one] for one in changes]), np.abs(effects))
            for changes, effects in experiments.values()
        ]
        value, low, high = mean_spearman(groups, self.bootstrap, seed)
        number = sum(len(effects) for _, effects in groups)
        return replace(
            Row(protocol, model, self.metric, value, low, high, number), note=f"{len(groups)} experiments"
        )

    def _read(self) -> tuple[dict[str, str], Experiments]:
        """Return the elements' letters by name, and the changes and log2 effects of each experiment."""
        elements, experiments = read_elements(Path(self.files, TABLE).expanduser())
        if self.examples is None:
            return elements, experiments
        each = max(2, self.examples // len(experiments))
        for name, (changes, effects) in experiments.items():
            kept = np.linspace(0, len(changes) - 1, min(each, len(changes))).astype(np.int64)
            experiments[name] = [changes[i] for i in kept], effects[kept]
        return elements, experiments


def read_elements(path: Path) -> tuple[dict[str, str], Experiments]:
    """Read the table's elements, by `chromosome:first`, and the measurements by experiment.

    Raises:
        UserError: the file is not in the published layout.
    """
    rows: list[tuple[str, Change, float, int]] = []
    bases: dict[tuple[str, int], str] = {}
    try:
        with gzip.open(path, "rt", encoding="ascii", newline="") as file:
            for row in csv.DictReader(file, delimiter="\t"):
                if row["Release"] != RELEASE or not row["Pos"].isdigit():
                    continue
                change = Change(row["Chrom"], int(row["Pos"]), row["Ref"], row["Alt"])
                bases[change.name, change.position] = change.ref
                rows.append((row["Element"], change, float(row["Coefficient"]), int(row["Barcodes"])))
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, KeyError, ValueError) as error:
        raise UserError(
            f"{path}: expected the published elements.tsv.gz ({error!r}); fetch it anew"
        ) from None
    elements, moved = _elements(bases)
    experiments: dict[str, list[tuple[Change, float]]] = {}
    for experiment, change, effect, tags in rows:
        if tags >= FEWEST_TAGS and {change.ref, change.alt} <= set(LETTERS):
            name, place = moved[change.name, change.position]
            experiments.setdefault(experiment, []).append(
                (Change(name, place, change.ref, change.alt), effect)
            )
    return elements, {
        name: ([one for one, _ in found], np.array([effect for _, effect in found]))
        for name, found in experiments.items()
    }


def _elements(
    bases: dict[tuple[str, int], str],
) -> tuple[dict[str, str], dict[tuple[str, int], tuple[str, int]]]:
    """Return each element's letters, and the element and position (from 1) of each chromosome base."""
    elements: dict[str, list[str]] = {}
    moved: dict[tuple[str, int], tuple[str, int]] = {}
    name, before = "", ("", 0)
    for record, place in sorted(bases):
        if record != before[0] or place > before[1] + WINDOW:
            name = f"{record}:{place}"
            elements[name] = []
        elif place > before[1] + 1:
            elements[name] += "N" * (place - before[1] - 1)
        elements[name].append(bases[record, place])
        moved[record, place] = name, len(elements[name])
        before = record, place
    return {name: "".join(letters) for name, letters in elements.items()}, moved
