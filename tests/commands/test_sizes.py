"""Whole numbers that nothing can count are refused by their keys, in every command."""

import pytest

from dnamamba.commands.embed import EmbedConfig
from dnamamba.commands.generate import GenerateConfig
from dnamamba.commands.schema import typed
from dnamamba.config import composed
from dnamamba.errors import LARGEST, UserError
from dnamamba.training.config import FinetuneTrainConfig

FILES = ("model=m", "fasta=f", "out=o")


@pytest.mark.parametrize("number", [LARGEST + 1, -LARGEST - 1, 10**20])
@pytest.mark.parametrize("key", ["window", "pool_every", "regions.flank", "context_size"])
def test_number_beyond_counting_is_refused_by_name(key: str, number: int) -> None:
    cfg = composed("embed", (*FILES, f"{key}={number}"))
    with pytest.raises(UserError, match=rf"^{key}: must be at most 281,474,976,710,656 .*\(got {number}\)"):
        typed(cfg, EmbedConfig, "")


def test_group_of_settings_is_named_too() -> None:
    cfg = composed("finetune", (f"train.max_steps={LARGEST + 1}",))
    with pytest.raises(UserError, match=r"^train\.max_steps: must be at most"):
        typed(cfg.train, FinetuneTrainConfig, "train")


def test_largest_number_and_any_seed_are_taken() -> None:
    assert typed(composed("embed", (*FILES, f"window={LARGEST}")), EmbedConfig, "").window == LARGEST
    assert typed(composed("generate", ("out=o", f"seed={2**63 - 1}")), GenerateConfig, "").seed == 2**63 - 1
