"""What a model that answers at every base or bin makes of sequences, as arrays."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dnamamba.checkpoint import Model
from dnamamba.data.alphabet import Ids, get_alphabet
from dnamamba.data.regions import AS_THEY_ARE, RegionsConfig
from dnamamba.errors import UserError
from dnamamba.inference.inputs import Inputs, Source, read_inputs
from dnamamba.inference.position_files import PositionAnswers, spans_of
from dnamamba.models import PositionModel


class PositionPredictions(NamedTuple):
    """The answers along an interval.

    Attributes:
        record: its name; of a sequence in a list its number, from 0.
        start, end: 0-based, `end` not included.
        values: [bins, labels]: probabilities of the classes, float32, or numbers of the tracks in their unit,
            float64; NaN of a bin without a known base. The last bin of a record may be short.
        labels: names of the classes or tracks.
    """

    record: str
    start: int
    end: int
    values: NDArray[np.float32] | NDArray[np.float64]
    labels: tuple[str, ...]


class _Bases:
    """Records of inputs, as `PositionAnswers` reads them."""

    def __init__(self, inputs: Inputs) -> None:
        self.alphabet = inputs.alphabet
        self.lengths = {name: inputs.length(name) for name in {one.record: None for one in inputs.regions}}
        self._inputs = inputs

    def fetch(self, record: str, start: int, end: int) -> Ids:
        """Return ids, uint8 [end - start]."""
        return self._inputs.ids(record, start, end)


def predict_positions(
    model: Model,
    source: Source,
    *,
    strand: str = "forward",
    context: int | None = None,
    precision: str = "auto",
    regions: RegionsConfig = AS_THEY_ARE,
) -> list[PositionPredictions]:
    """Ask a model of `data=annotation` or `data=tracks` about every base or bin, as `dnamamba predict` does.

    A record or sequence is one context, however long. Of regions, whose strands do not matter, whole bins are
    answered, and those that meet are joined.

    Args:
        model: runs where its parameters lie.
        source: a list of sequences (letters, or ids as uint8), a FASTA file, or (FASTA file, BED, GFF3 or GTF
            file).
        strand: `both` for the mean with the answers to the reverse complement, base by base.
        context: bases that are read on either side of a region; None: a training window.
        precision: of the matrix products: `fp32`, `bf16`, or `auto`, which is bf16 on a GPU that has it.
        regions: which rows of a BED, GFF3 or GTF file are read, and what of them.

    Returns:
        One per sequence, record or region, in order.

    Raises:
        UserError: the model answers once per sequence, a value is out of range, the source can't be read, or
            an answer is not finite.

    >>> from dnamamba import MambaConfig, predict_positions
    >>> from dnamamba.models import PositionConfig, PositionModel
    >>> asked = PositionConfig("base_classes", ("none", "exon+", "exon-"), (0, 2, 1), window=64)
    >>> model = PositionModel(MambaConfig(d_model=8, n_layer=1), asked).eval()
    >>> [one.values.shape for one in predict_positions(model, ["ACGTAC", "GGGTTTN"])]
    [(6, 3), (7, 3)]
    """
    if not isinstance(model, PositionModel):
        raise UserError("this model does not answer at every base or bin; ask it with dnamamba.predict")
    inputs = read_inputs(source, get_alphabet(model.config.alphabet), regions)
    spans = spans_of(inputs, model.decoder.bin) if isinstance(source, tuple) else None
    answers = PositionAnswers(
        model,
        precision,
        strand=strand,
        regions=spans,
        context=0 if spans is None else model.decoder.window if context is None else context,
    )
    bases = _Bases(inputs)
    labels = tuple(model.decoder.labels)
    return [
        PositionPredictions(record, start, end, values, labels)
        for record in bases.lengths
        for start, end, values in answers.parts(bases, record)
    ]
