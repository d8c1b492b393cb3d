"""What a fine-tuned model answers for the alleles of a VCF file: of the reference, of each alternative."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from dnamamba.data.fasta import Genome
from dnamamba.data.variants import Vcf, VcfRow
from dnamamba.inference.answers import BATCH, Answers, need_sequence_model, with_strand
from dnamamba.inference.device import need_finite
from dnamamba.inference.effects import Windows
from dnamamba.inference.score_vcf import check
from dnamamba.inference.variants import SYMBOLIC_BASES
from dnamamba.inference.vcf_rows import Plan, Records
from dnamamba.models import SequenceModel

_ROWS = 256  # of a file, read together


def predict_variants(
    model: SequenceModel,
    fasta: str | Path,
    vcf: str | Path,
    window: int,
    *,
    strand: Literal["forward", "both"] | None = None,
    batch_size: int = BATCH,
    precision: str = "auto",
    unknown: str = "error",
    symbolic: int = SYMBOLIC_BASES,
) -> dict[str, list[Any]]:
    """Ask a fine-tuned model about both alleles of every variant of a VCF file.

    Args:
        model: fine-tuned; runs where its parameters lie.
        fasta: the genome.
        vcf: the variants.
        window: bases around a variant that are read, about as many as the model was fine-tuned on.
        strand: answer for `forward`, or with the mean for `both`; None: as the model was fine-tuned.
        batch_size: sequences read together.
        precision: of the matrix products, as in `dnamamba.predict`.
        unknown: rows on records that the FASTA lacks: `error`, or `skip`, which gives them no answer.
        symbolic: the most bases of a `<DEL>`, `<DUP>` or `<INV>` that is spelled out.

    Returns:
        The columns of `dnamamba predict vcf=`, a row per alternative allele: see `predict_vcf`.

    Raises:
        UserError: a file can't be read, most REF are not the FASTA's, or a value is out of range.
    """
    answers = Answers(
        with_strand(need_sequence_model(model), strand), precision=precision, batch_size=batch_size
    )
    windows = Windows(window, strand="forward")
    genome = Genome(fasta, answers.reader.alphabet)
    longest = answers.reader.longest
    records = Records.of_model(genome, unknown, symbolic, answers.model, windows, longest)
    opened = Vcf(Path(vcf))
    check(opened, records, lambda line: None)
    return predict_vcf(answers, opened, records, windows, lambda rows: None)


def predict_vcf(
    answers: Answers, vcf: Vcf, records: Records, windows: Windows, advance: Callable[[int], None]
) -> dict[str, list[Any]]:
    """Return the columns of a table with a row per alternative allele.

    Each has the answer and the values of every label (probabilities, or numbers) for the window with REF and
    the one with ALT, and their difference; nothing where `unscored` says why. Strands and shifts of the
    window are averaged as logits.

    Args:
        answers: the model.
        vcf: that `score_vcf.check` has passed.
        records: of the FASTA, in the model's alphabet.
        windows: how a variant is looked at.
        advance: is called with the number of rows done since the last call.

    Raises:
        UserError: an answer is not finite, or a window is longer than the family can read.
    """
    head = answers.head
    columns: dict[str, list[Any]] = {
        name: []
        for name in (
            *("chrom", "pos", "id", "ref", "alt", "predicted_ref", "predicted_alt"),
            *(f"{what}_{label}" for label in head.labels for what in ("ref", "alt", "difference")),
            "unscored",
        )
    }
    rows = ((row, records.plan(row, f"{vcf.path}, line {row.number}")) for row in vcf.rows())
    while some := list(islice(rows, _ROWS)):
        logits = _logits(answers, records, windows, some)
        for row, can in some:
            for number, alt in enumerate(row.columns[4].decode("utf-8", "replace").split(",")):
                problem = can.problems[number] if can.problems else can.unscored
                cells: list[Any] = [
                    row.name,
                    row.position,
                    row.columns[2].decode("utf-8", "replace"),
                    row.ref,
                    alt,
                ]
                if number in can.alts:
                    both = torch.from_numpy(next(logits))
                    values = head.predict(both).numpy()
                    cells += [head.answer(both[0]), head.answer(both[1])]
                    for one, other in values.T.tolist():
                        cells += [one, other, other - one]
                else:
                    cells += [None] * (2 + 3 * len(head.labels))
                cells.append(problem.reason if problem else ".")
                for column, cell in zip(columns.values(), cells, strict=True):
                    column.append(cell)
        advance(len(some))
    return columns


def _logits(
    answers: Answers, records: Records, windows: Windows, some: list[tuple[VcfRow, Plan]]
) -> Iterator[np.ndarray]:
    """Yield logits [2, C] of REF and ALT for each allele that can be read, in order."""
    views, owners = [], []
    for row, can in some:
        if not can.alts:
            continue
        made = list(windows.views(records.site(row, can), records.genome))
        views += made
        owners.append((f"{row.name}:{row.position}", len(made), len(can.alts)))
    if not views:
        return
    logits = answers.allele_logits(views)
    place = 0
    for where, count, alts_here in owners:
        rows = logits[place : place + count * (alts_here + 1)].reshape(count, alts_here + 1, -1).mean(0)
        need_finite(rows, where)
        place += count * (alts_here + 1)
        for alt in rows[1:]:
            yield np.stack([rows[0], alt])
