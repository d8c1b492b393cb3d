"""A checkpoint with NaN or infinity in what a step computes with is refused before the first step."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig

from dnamamba import UserError
from dnamamba.commands.finetune import finetune


def adapter(checkpoint: dict[str, Any]) -> tuple[str, torch.Tensor]:
    name = next(each for each in checkpoint["state_dict"] if "lora_B" in each)
    return name.removeprefix("model."), checkpoint["state_dict"][name]


def moment(checkpoint: dict[str, Any]) -> tuple[str, torch.Tensor]:
    return "optimizer_states.0.state.1.exp_avg_sq", checkpoint["optimizer_states"][0]["state"][1][
        "exp_avg_sq"
    ]


def best(checkpoint: dict[str, Any]) -> tuple[str, torch.Tensor]:
    key = next(each for each in checkpoint["callbacks"] if "KeepBest" in each)
    weights = checkpoint["callbacks"][key]["weights"]
    name = next(each for each in weights if "lora_A" in each)
    return f"{key}.weights.{name}", weights[name]


def test_values_that_are_not_finite_are_named_when_resumed(
    tiny: Callable[..., DictConfig], tmp_path: Path
) -> None:
    pytest.importorskip("peft")
    own = ("task.lora_rank=2", "train.max_steps=1", "train.validate_every=1")
    finetune(tiny(*own), tmp_path / "run")
    path = tmp_path / "run" / "checkpoints" / "last.ckpt"
    for where in (adapter, moment, best):
        checkpoint = torch.load(path, weights_only=True)
        name, tensor = where(checkpoint)
        tensor.view(-1)[0] = float("nan")
        damaged = tmp_path / f"{where.__name__}.ckpt"
        torch.save(checkpoint, damaged)
        with pytest.raises(UserError) as error:
            finetune(tiny(*own, f"ckpt_path={damaged}"), tmp_path / "again")
        assert str(error.value) == (
            f"{damaged}: {name} is not finite (it holds NaN or infinity): the training diverged, or the file "
            "is damaged; resume from an earlier checkpoint"
        )
        assert not (tmp_path / "again").exists()
