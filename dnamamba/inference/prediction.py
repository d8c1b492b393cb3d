"""What a fine-tuned model makes of new sequences, of records and regions of a genome, however long."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from dnamamba.data.regions import AS_THEY_ARE, RegionsConfig
from dnamamba.heads.base import Head
from dnamamba.inference.answers import BATCH, Answers, need_sequence_model, with_strand
from dnamamba.inference.contexts import EmbeddingConfig, Plan
from dnamamba.inference.device import need_finite
from dnamamba.inference.inputs import Inputs, Region, Source, read_inputs
from dnamamba.models import SequenceModel


class Predictions(NamedTuple):
    """What a model made of sequences, one row each.

    Attributes:
        regions: what was read.
        answers: as labels are written: a class, labels joined by `;`, a number.
        values: probabilities of the labels, or numbers in their unit, float64 [n, C].
        logits: float64 [n, C], of which a probability near 1 has lost the digits.
        labels: their names, [C].
    """

    regions: list[Region]
    answers: list[str]
    values: NDArray[np.float64]
    logits: NDArray[np.float64]
    labels: tuple[str, ...]


def predict(
    model: SequenceModel,
    source: Source,
    *,
    window: int | None = None,
    stride: int | None = None,
    strand: Literal["forward", "both"] | None = None,
    batch_size: int = BATCH,
    precision: str = "auto",
    regions: RegionsConfig = AS_THEY_ARE,
) -> Predictions:
    """Ask a fine-tuned model about sequences, the records of a FASTA file, or regions of it.

    All of each is read, however long, as one context; a region of the minus strand as its reverse complement.

    Args:
        model: fine-tuned; runs where its parameters lie.
        source: a list of sequences (letters, or ids as uint8), a FASTA file, or (FASTA file, BED, GFF3 or GTF
            file).
        window: cut each into windows of that many bases, and answer for each.
        stride: bases between the beginnings of two windows; `window` by default.
        strand: answer for `forward`, or with the mean for `both`; None: as the model was fine-tuned.
        batch_size: sequences read together; it changes no answer beyond rounding.
        precision: of the matrix products: `fp32`, `bf16`, or `auto`, which is bf16 on a GPU that has it.
        regions: which rows of a BED, GFF3 or GTF file are read, and what of them.

    Raises:
        UserError: the model is a pretrained one, a value is out of range, the source can't be read, a
            sequence is longer than the family can read, or an answer is not finite.

    >>> from dnamamba import DecoderConfig, MambaConfig, SequenceModel, predict
    >>> asked = DecoderConfig("classification", ("leaf", "root"))
    >>> model = SequenceModel(MambaConfig(d_model=8, n_layer=1), asked).eval()
    >>> predict(model, ["ACGTAC", "GGGTTTN"]).values.shape
    (2, 2)
    """
    answers = Answers(
        with_strand(need_sequence_model(model), strand), precision=precision, batch_size=batch_size
    )
    plan_of = EmbeddingConfig(window=window, stride=stride)
    inputs = read_inputs(source, answers.reader.alphabet, regions)
    return collected(answers.head, read_predictions(answers, inputs, Plan(inputs.regions, plan_of)))


def read_predictions(
    answers: Answers, inputs: Inputs, plan: Plan, advance: Callable[[int], None] = lambda bases: None
) -> Iterator[tuple[list[Region], NDArray[np.float64]]]:
    """Yield regions and their logits [n, C], some at a time, in order.

    Args:
        answers: the model.
        inputs: where the bases are.
        plan: which of them are read, a context each.
        advance: is called with the number of bases read since the last call.

    Raises:
        UserError: a context is too long for the family, or an answer is not finite.
    """
    table = plan.table()
    flip = inputs.alphabet.reverse_complement

    def sequences() -> Iterator[tuple[_Place, NDArray[np.uint8]]]:
        for region in table.regions():
            ids = inputs.ids(region.record, region.start, region.end)
            yield _Place(region), flip(ids) if region.strand == "-" else ids

    for places, logits in answers.logits(sequences()):
        for place, row in zip(places, logits, strict=True):
            need_finite(row, str(place))
        yield [place.region for place in places], logits
        advance(sum(place.region.length for place in places))


class _Place(NamedTuple):
    region: Region

    def __str__(self) -> str:
        return self.region.where


def collected(head: Head, parts: Iterator[tuple[list[Region], NDArray[np.float64]]]) -> Predictions:
    """Join all parts to one result."""
    regions: list[Region] = []
    logits = [np.empty((0, len(head.labels)))]
    for some, rows in parts:
        regions += some
        logits.append(rows)
    together = np.concatenate(logits)
    tensor = torch.from_numpy(together)
    answers = [head.answer(row) for row in tensor]
    return Predictions(regions, answers, head.predict(tensor).numpy(), together, head.labels)
