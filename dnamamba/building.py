"""A model of a configuration and weights that go together, or one line on what does not."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from dnamamba.data.alphabet import TEXT, get_alphabet
from dnamamba.errors import UserError
from dnamamba.models import (
    DecoderConfig,
    LanguageModel,
    ModelConfig,
    PositionConfig,
    PositionModel,
    SequenceModel,
)
from dnamamba.models.finite import FLOATS, need_finite_weights

Model = LanguageModel | SequenceModel | PositionModel
Question = DecoderConfig | PositionConfig


def built(config: ModelConfig, decoder: Question | None, weights: dict[str, Tensor], source: Path) -> Model:
    """Build a model with these weights, in evaluation mode.

    Args:
        config: the family and shape.
        decoder: of a fine-tuned model.
        weights: by name; they are taken, not copied.
        source: where they come from, for messages.

    Raises:
        UserError: the weights do not go with the configuration, or are not finite.
    """
    try:
        ids = 0 if config.alphabet == TEXT else get_alphabet(config.alphabet).size
    except UserError as error:
        raise UserError(f"{source}: {error}") from None
    if config.padded_vocab_size < ids:
        raise UserError(
            f"{source}: the model's vocabulary has {config.padded_vocab_size} ids, and its alphabet "
            f"{config.alphabet} has {ids}; use another copy"
        )
    for name, tensor in sorted(weights.items()):
        if not isinstance(tensor, Tensor) or tensor.dtype not in FLOATS or tensor.layout != torch.strided:
            what = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
            raise UserError(f"{source}: {name} must be a tensor of floating-point numbers (got {what})")
    if config.depth > len(weights):  # seen without building them, which takes seconds of thousands
        raise UserError(
            f"{source}: the weights do not go with the configuration: {config.depth:,} blocks of "
            f"{len(weights):,} tensors; use another copy"
        )
    try:
        with torch.device("meta"):
            model = _empty(config, decoder)
    except UserError as error:
        raise UserError(f"{source}: {error}") from error
    except (RuntimeError, TypeError, OverflowError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"{source}: no model of this configuration can be built ({reason})") from error
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    wrong = [f"{name} is missing" for name in expected.keys() - found.keys()]
    wrong += [f"{name} is unknown" for name in found.keys() - expected.keys()]
    wrong += [
        f"{name} is {list(found[name])}, not {list(expected[name])}"
        for name in expected.keys() & found.keys()
        if found[name] != expected[name]
    ]
    outputs = [shapes.get("head.weight", ())[:1] for shapes in (expected, found)]
    if decoder is not None and all(outputs) and outputs[0] != outputs[1]:
        raise UserError(
            f"{source}: decoder.labels: {len(decoder.labels)} labels need {outputs[0][0]} outputs, and the "
            f"weights have {outputs[1][0]} (got {', '.join(decoder.labels)}); use another copy"
        )
    if wrong:
        shown = "; ".join(sorted(wrong)[:6]) + (f"; and {len(wrong) - 6} more" if len(wrong) > 6 else "")
        raise UserError(f"{source}: the weights do not go with the configuration: {shown}")
    need_finite_weights(weights, source, "use an earlier checkpoint")
    model.load_state_dict(weights, assign=True)
    return model.requires_grad_(True).eval()


def _empty(config: ModelConfig, decoder: Question | None) -> Model:
    """Build a model without weights."""
    if decoder is None:
        return LanguageModel(config)
    if isinstance(decoder, PositionConfig):
        return PositionModel(config, decoder)
    return SequenceModel(config, decoder)
