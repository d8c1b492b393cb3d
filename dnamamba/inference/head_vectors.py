"""Vectors that a head reads, made by the head's own code: embeddings and heads see the same numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray

from dnamamba.data.labelled import padded
from dnamamba.inference.answers import need_sequence_model
from dnamamba.inference.contexts import EmbeddingConfig, Part, Plan, batches_of
from dnamamba.inference.device import need_finite, precision_of
from dnamamba.inference.inputs import Inputs
from dnamamba.inference.streaming import Reader
from dnamamba.models import DecoderConfig, SequenceModel
from dnamamba.models.pooling import UNKNOWN, base_table


def read_by_head(
    reader: Reader,
    inputs: Inputs,
    plan: Plan,
    todo: NDArray[np.int64],
    batch_size: int | str,
    advance: Callable[[int], None],
) -> Iterator[Part]:
    """Yield what a head reads of contexts: NaN where no base is known (the head reads zeros there).

    Args:
        reader: of the model, which with pooling `head` has one.
        inputs: where the bases are.
        plan: what to read.
        todo: int64 [n], the contexts.
        batch_size: contexts per batch, of those that are no longer than a piece of the reader.
        advance: is told of bases read.

    Raises:
        UserError: a context has another length than the model was fine-tuned for, or a vector is not finite.
    """
    model, precision = _asked(reader, plan.config), precision_of(reader.model, reader.precision)
    length = plan.end - plan.start
    both = model.decoder.strand == "both"
    known = base_table(reader.alphabet.name).numpy() != UNKNOWN
    long = length[todo] > reader.piece
    short = batches_of(todo[~long], length, reader.piece, batch_size, alike=not model.backbone.causal)
    for batch in chain(short, todo[long, None]):
        rows = [plan.ids(inputs, context) for context in batch.tolist()]
        with torch.no_grad(), precision:
            if rows[0].size > reader.piece:
                other = reader.tokens(rows[0], reverse=True) if both else None
                found = model.read_features(reader.tokens(rows[0]), other)
            else:
                tokens, lengths = padded(rows, reader.alphabet.pad_id, "right")
                on_device = torch.from_numpy(lengths).to(reader.device)
                found = model.features(reader.to_device(tokens), on_device)
        advance(int(length[batch].sum()))
        for context, ids, vector in zip(batch.tolist(), rows, found.float().cpu().numpy(), strict=True):
            if known[ids].any():
                need_finite(vector, plan.where(context))
            else:
                vector = np.full_like(vector, math.nan)
            yield Part(context, int(plan.first_row[context]), vector[None], True)


def _asked(reader: Reader, config: EmbeddingConfig) -> SequenceModel:
    """Return the fine-tuned model, or the backbone of any with a decoder that pools as `config` says."""
    if config.pooling == "head":
        return need_sequence_model(reader.model)
    decoder = DecoderConfig(
        "regression", ("vector",), config.pooling, strand=config.strand, context=config.context
    )
    with torch.device("meta"):
        made = SequenceModel(reader.config, decoder)
    made.backbone = reader.model.backbone
    del made.head  # nothing is answered
    return made.to(reader.device).eval()
