"""What can't lie on several processes is refused by name, before the first step."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig

from dnamamba import Finetuning
from dnamamba.commands.pretrain import settings_of
from dnamamba.data.length_schedule import Stage
from dnamamba.errors import UserError
from dnamamba.models import MambaConfig
from dnamamba.models.mamba.backbone import MambaBackbone
from dnamamba.objectives.base import Objective
from dnamamba.objectives.next_base import NextBase
from dnamamba.training.config import TrainerConfig
from dnamamba.training.context import check_context, even_batch

SHAPE = MambaConfig(d_model=8, n_layer=1)


class Elsewhere(MambaBackbone):
    """A family that reads one base after the other and can't do it in parts."""

    divisible = False


class Bidirectional(MambaBackbone):
    causal = recurrent = divisible = False


class FillIn(Objective):
    """A loss that needs both sides of a base."""


def check(
    size: int = 2, lengths: tuple[int, ...] = (8,), mean: float | None = None, **changes: object
) -> None:
    backbone = changes.pop("backbone", MambaBackbone)(SHAPE)
    objective = changes.pop("objective", NextBase(SHAPE))
    stages = [Stage(0, length, 1, 0, 1, mean) for length in lengths]
    check_context(size, backbone, objective, stages, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"backbone": Elsewhere},
            "trainer.context_size=2 needs a model that is divisible, and the family mamba is not",
        ),
        (
            {"backbone": Bidirectional},
            "trainer.context_size=2 needs a model that is causal and recurrent and divisible, and",
        ),
        (
            {"objective": FillIn()},
            r"trainer.context_size: the loss of FillIn is not a sum over the parts .* \(got 2\); set 1",
        ),
        ({"compiled": True}, "train.compile: a compiled model reads whole sequences"),
        (
            {"lengths": (8, 1001)},
            r"2 processes can't share windows evenly \(got 1,001 bases\); set",
        ),
    ],
)
def test_what_cannot_lie_on_several_processes_is_named(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=f"^{message}" if message.startswith("train") else message):
        check(**changes)


def test_one_process_refuses_nothing() -> None:
    check(1, (7,), backbone=Bidirectional, objective=FillIn(), compiled=True)
    check(2, (8, 6))


def test_records_are_padded_to_equal_parts() -> None:
    check(2, (9,), mean=7.5)
    tokens = torch.arange(20, dtype=torch.uint8).view(2, 10)
    even = even_batch({"tokens": tokens}, 4, 7)["tokens"]
    assert even.tolist() == [[*range(10), 7, 7, 7], [*range(10, 20), 7, 7, 7]]
    assert torch.equal(even_batch({"tokens": tokens}, 3, 7)["tokens"], tokens)


def test_size_that_does_not_divide_processes_is_refused() -> None:
    assert TrainerConfig(devices=4, num_nodes=2, context_size=2).data_processes == 4
    with pytest.raises(
        UserError, match=r"6 processes can't share sequences by so many \(got 4\); set a divisor"
    ):
        TrainerConfig(devices=6, context_size=4)


def test_a_fine_tuning_of_shared_sequences_is_refused(tmp_path: Path) -> None:
    run = Finetuning(tmp_path / "run", trainer=TrainerConfig(devices=2, context_size=2), quiet=True)
    with pytest.raises(
        UserError, match=r"trainer\.context_size: a fine-tuning reads .* one process \(got 2\); set 1"
    ):
        run.build()


def test_all_devices_share_a_sequence_unless_told(
    configure: Callable[..., DictConfig], tmp_path: Path
) -> None:
    cfg = configure("trainer=context", "trainer.devices=8", "trainer.num_nodes=2")
    assert settings_of(cfg, tmp_path).trainer.context_size == 8
