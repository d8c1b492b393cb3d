"""Where a trained model runs, and in which precision."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dnamamba.checkpoint import Model, load
from dnamamba.errors import UserError
from dnamamba.models import LanguageModel


def load_on(path: str | Path, device: str) -> LanguageModel:
    """Load the language model at `path` on `device`; `auto` is the first GPU if there is one, else the CPU.

    Raises:
        UserError: there is no language model there, or no such device.
    """
    return need_language_model(load_any_on(path, device), str(path))


def need_language_model(model: Model, name: str = "this") -> LanguageModel:
    """Return the model if it predicts bases: the one place that asks what a model was trained for.

    Raises:
        UserError: it is a fine-tuned one, which answers another question.
    """
    if not isinstance(model, LanguageModel):
        raise UserError(f"{name} is a fine-tuned model without probabilities of bases: give a pretrained one")
    return model


def load_any_on(path: str | Path, device: str) -> Model:
    """Return the model at `path`, pretrained or fine-tuned, on `device`; raises as `load_on` does."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        place = torch.device(device)
    except RuntimeError as error:
        raise UserError(
            f"device={device} is not a device of torch: choose auto, cpu, cuda or cuda:N"
        ) from error
    if place.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"device={device}: there is no CUDA GPU here that torch can use; choose device=cpu")
    if place.type == "mps" and not torch.backends.mps.is_available():
        raise UserError(f"device={device}: there is no Apple GPU here that torch can use; choose device=cpu")
    model = load(path)
    try:
        return model.to(place)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device={device}: {str(error).partition(chr(10))[0]}") from error


def precision_of(model: Model, precision: str) -> AbstractContextManager[object]:
    """Return the context to run `model` in: `bf16` autocasts, `fp32` not, `auto` is bf16 on a GPU with it.

    Raises:
        UserError: another word.
    """
    device = model.backbone.device
    if precision == "auto":
        has_bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        precision = "bf16" if has_bf16 else "fp32"
    if precision == "fp32":
        return nullcontext()
    if precision == "bf16":
        return torch.autocast(device.type, torch.bfloat16)
    raise UserError(f"precision={precision}: choose auto, fp32 or bf16")


def need_finite(values: NDArray[Any], where: str) -> None:
    """Refuse results that are not numbers: weights or activations have left the range of their dtype.

    Args:
        values: of one region.
        where: it is.

    Raises:
        UserError: naming the region.
    """
    strange = values[~np.isfinite(values)]
    if strange.size:
        raise UserError(
            f"{where}: the model computes values that are not finite (got {strange[0]}); use precision=fp32, "
            "or a checkpoint from before its training diverged"
        )
