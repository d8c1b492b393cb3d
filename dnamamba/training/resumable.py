"""Whether a checkpoint holds what a run's model and optimiser take: else torch and Lightning fail midway."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dnamamba.checkpoint import MODULE_PREFIX
from dnamamba.errors import UserError
from dnamamba.training.optim import parameter_groups

_MOMENTS = ("exp_avg", "exp_avg_sq")
_VERSION = re.compile(r"\d+(\.\d+)*((a|b|rc|\.?dev|\.?post)\d+)*(\+[\w.]+)?")
_PLAIN: dict[str, type] = {"epoch": int, "loops": dict, "callbacks": dict, "pytorch-lightning_version": str}
_PLAIN |= {"lr_schedulers": list}  # which a user's callback may fill


def check_resumable(
    checkpoint: Mapping[str, Any], parts: Mapping[str, nn.Module], layer_decay: float, path: Path
) -> None:
    """Refuse a checkpoint whose weights, adapters, moments or counters are not those of this run.

    Args:
        checkpoint: as it was read, with a number of steps in `global_step`.
        parts: of the run by their names: `model`, with its adapters, and others that may have buffers.
        layer_decay: of the run, which decides the optimiser's groups.
        path: of the checkpoint, for messages.

    Raises:
        UserError: naming the first tensor or key.
    """
    steps = checkpoint["global_step"]
    wrong = _wrong_weights(checkpoint["state_dict"], nn.ModuleDict(parts).state_dict())
    wrong = wrong or _wrong_optimizer(checkpoint.get("optimizer_states"), parts["model"], layer_decay, steps)
    wrong = wrong or _wrong_values(checkpoint)
    if wrong:
        raise UserError(f"{path} is not of this run: {wrong}; resume from another checkpoint")


def _wrong_weights(found: Mapping[Any, Any], expected: Mapping[str, Any]) -> str | None:
    for name in sorted(expected.keys() - found.keys()):
        return f"{name.removeprefix(MODULE_PREFIX)} is missing"
    for name in sorted(map(str, found.keys() - expected.keys())):
        return f"{name.removeprefix(MODULE_PREFIX)} is unknown"
    for name, tensor in expected.items():
        # Another package's module may keep what is not a tensor.
        if isinstance(tensor, Tensor) and not _alike(found[name], tensor):
            return f"{name.removeprefix(MODULE_PREFIX)} must be {_shown(tensor)} (got {_shown(found[name])})"
    return None


def _wrong_optimizer(states: Any, model: nn.Module, layer_decay: float, steps: int) -> str | None:
    if not isinstance(states, list) or len(states) != 1 or not isinstance(states[0], dict):
        return f"optimizer_states must be the state of one optimiser (got {_shown(states)})"
    state, groups = states[0].get("state"), states[0].get("param_groups")
    expected = [group["params"] for group in parameter_groups(model, 0.0, layer_decay)]
    if not isinstance(groups, list) or [_size(group) for group in groups] != list(map(len, expected)):
        return "optimizer_states.param_groups are of other parameters"
    if not isinstance(state, dict):
        return f"optimizer_states.state must be a map (got {_shown(state)})"
    numbers = [number for group in groups for number in group["params"]]
    parameters = [parameter for group in expected for parameter in group]
    if steps and not state:
        return f"optimizer_states.state is empty after {steps:,} steps"
    for number, parameter in zip(numbers, parameters, strict=True):
        if number not in state:
            continue  # no gradient has reached it
        kept = state[number]
        if not isinstance(kept, dict):
            return f"optimizer_states.state.{number} must be a map (got {_shown(kept)})"
        for name in _MOMENTS:
            if not _alike(kept.get(name), parameter):
                return (
                    f"optimizer_states.state.{number}.{name} must be {_shown(parameter)} (got "
                    f"{_shown(kept.get(name))})"
                )
        step: Any = kept.get("step")
        is_number = (isinstance(step, Tensor) and step.numel() == 1) or type(step) in (int, float)
        if not is_number or not 0 <= step < math.inf:
            return f"optimizer_states.state.{number}.step must be a number of steps (got {_shown(step)})"
        if bool((kept["exp_avg_sq"] < 0).any()):
            return f"optimizer_states.state.{number}.exp_avg_sq holds squares below 0"
    done = max((int(state[number]["step"]) for number in numbers if state.get(number)), default=steps)
    if done != steps:
        return f"global_step must be {done}, as the optimiser has done so many steps (got {steps})"
    return None


def _wrong_values(checkpoint: Mapping[str, Any]) -> str | None:
    for key, kind in _PLAIN.items():
        if type(checkpoint.get(key)) is not kind:
            return f"{key} must be {kind.__name__} (got {_shown(checkpoint.get(key))})"
    if not _VERSION.fullmatch(version := checkpoint["pytorch-lightning_version"]):
        return f"pytorch-lightning_version must be a version (got {version!r})"
    if not isinstance(checkpoint["loops"].get("fit_loop"), dict):
        return "loops has no fit_loop"
    return None


def _size(group: Any) -> int | None:
    params = group.get("params") if isinstance(group, dict) else None
    return len(params) if isinstance(params, list) else None


def _alike(found: Any, expected: Tensor) -> bool:
    return isinstance(found, Tensor) and (found.shape, found.dtype, found.layout) == (
        expected.shape,
        expected.dtype,
        torch.strided,
    )


def _shown(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    return type(value).__name__
