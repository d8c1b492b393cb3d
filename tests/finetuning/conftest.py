"""Small fine-tunings: their settings, their data, a model to begin with."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import DictConfig

from dnamamba import LanguageModel, MambaConfig, save_model
from dnamamba.config import composed

Configure = Callable[..., DictConfig]
SHORT = (
    "model=scratch",
    "scratch.d_model=8",
    "scratch.n_layer=1",
    "data.batch_size=4",
    "train.global_batch_size=8",
    "train.max_steps=6",
    "train.validate_every=2",
    "train.checkpoint_every=1",
    "train.log_every=1",
    "train.learning_rate=0.02",
    "task.bootstrap=20",
    "task.baselines=false",
)


@pytest.fixture
def configure(undrawn: None) -> Configure:
    return lambda *overrides: composed("finetune", overrides)


def write_table(path: Path, number: int = 60, kind: str = "classification") -> Path:
    """Sequences of 20 to 40 bases: class `at` is of A and T mostly, class `gc` of G and C."""
    rng = np.random.default_rng(0)
    rows = []
    for place in range(number):
        share = place % 2 if kind != "regression" else rng.random()
        p = 0.4 * (1 - share) + 0.1 * share
        bases = "".join(rng.choice(list("ACGT"), rng.integers(20, 40), p=[p, 0.5 - p, 0.5 - p, p]))
        label = {
            "classification": ("at", "gc")[place % 2],
            "multilabel": ("at", "gc;strong", "")[place % 3],
            "regression": f"{100 + 50 * share:.3f}",
        }[kind]
        split = ("train", "train", "valid", "test")[place // 3 % 4]
        rows.append(f"s{place},{bases},{label},{split}\n")
    path.write_text("id,sequence,label,split\n" + "".join(rows))
    return path


@pytest.fixture
def tiny(configure: Configure, tmp_path: Path) -> Configure:
    table = write_table(tmp_path / "t.csv")
    return lambda *overrides: configure(*SHORT, f"data.table={table}", *overrides)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def pretrained(folder: Path, alphabet: str = "dna") -> Path:
    torch.manual_seed(5)
    vocabulary = {"dna": 8, "bytes": 256}[alphabet]
    save_model(LanguageModel(MambaConfig(8, 2, alphabet=alphabet, vocab_size=vocabulary)), folder)
    return folder
