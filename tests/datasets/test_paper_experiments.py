"""The rows of conf/paper.yaml for tables 1 and 6 to 11: each composes, is planned, trains and resumes."""

import copy
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import load_file

from dnamamba.commands.experiments import paper
from dnamamba.commands.plan import plan_pretraining
from dnamamba.commands.pretrain import pretrain
from dnamamba.commands.settings import model_config
from dnamamba.config import composed
from dnamamba.data.synthetic import SelectiveCopying
from dnamamba.models import LanguageModel

ROWS = [name for name in paper() if name.startswith(("synthetic/", "ablation/"))]
TINY = {
    "model": {"d_model": 32, "n_layer": 1},
    "data": {"max_length": 32},
    "train": {
        "max_steps": 4,
        "validate_every": 2,
        "checkpoint_every": 2,
        "log_every": 1,
        # A rate that falls would depend on where a run was to end.
        "learning_rate": 0.01,
        "final_learning_rate": 0.01,
        "warmup_fraction": 0.0,
    },
}
TASK = {
    "data": {
        "batch_size": 4,
        "valid_examples": 4,
        "test_examples": 2,
        "length_warmup": {"first_length": None},
    },
    "train": {"global_batch_size": 4},
}
GENOME = {
    "data": {"bases_per_batch": 128, "valid_windows": 4, "fasta": "genome.fa"},
    "train": {"bases_per_step": 128},
}


@cache
def base_of(base: str, model: str | None) -> DictConfig:
    """A base of rows; to compose it takes longer than all that is done with a row."""
    made = composed("pretrain", [f"experiment={base}", *([] if model is None else [f"model={model}"])])
    OmegaConf.set_struct(made, False)  # a row may set what a file of conf/model leaves at its default
    return made


@cache
def configured(name: str) -> DictConfig:
    row = paper()[name]
    groups = {"model": row.get("shape", {})} | {key: row[key] for key in ("data", "train") if key in row}
    return OmegaConf.merge(base_of(row["base"], row.get("model")), groups)  # type: ignore[return-value]


def tiny(name: str, fasta: Path | None = None) -> DictConfig:
    """The row on a CPU in a second: short, narrow, and as different from the others as it was."""
    changes = TASK if name.startswith("synthetic/") else GENOME
    cfg: Any = OmegaConf.merge(configured(name), TINY, changes)
    cfg.trainer = composed_cpu()
    if fasta is not None:
        cfg.data.fasta, cfg.data.valid, cfg.data.test = str(fasta), ["two"], ["three"]
    else:
        cfg.data.test_lengths = [32]
        cfg.train.chunk_bases = None
        if "data_symbols" in cfg.data:
            cfg.data.data_symbols = 4
    if cfg.model.get("max_length") is not None:
        cfg.model.max_length = 32
    return cfg


@cache
def composed_cpu() -> DictConfig:
    return composed("pretrain", []).trainer


def test_composed_row_is_its_base_with_changes() -> None:
    name = "ablation/mamba_hyena"
    assert composed("pretrain", [f"experiment={name}"]) == configured(name)


def test_every_row_is_planned_with_its_own_model() -> None:
    seen = {}
    for name in ROWS:
        cfg: Any = configured(name)
        chosen = model_config(cfg.model, cfg.data.alphabet)
        for key, value in paper()[name].get("shape", {}).items():
            assert getattr(chosen, key) == value or value == "${data.max_length}", (name, key)
        if (kind := (type(chosen), getattr(chosen, "ssm", None), cfg.train.max_steps)) not in seen.values():
            asked = copy.deepcopy(cfg)
            OmegaConf.update(asked, "plan", {"device": "h200"}, force_add=True)
            made = plan_pretraining(asked)
            assert made.steps == cfg.train.max_steps, name
        seen[name] = kind
    shapes = [str(configured(name).model) for name in ROWS if name.startswith("ablation/")]
    assert len({*shapes}) == len(shapes)  # no two rows are the same


def test_every_row_trains_a_few_steps() -> None:
    """Two steps of the row's own model; the loss is finite and every weight moves."""
    for name in ROWS:
        settings = {**configured(name).model, "d_model": 32, "n_layer": 1, "alphabet": "symbols"}
        if settings.get("max_length"):
            settings["max_length"] = 32
        torch.manual_seed(0)
        model = LanguageModel(model_config(OmegaConf.create(settings), "symbols"))
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        before = [parameter.detach().clone() for parameter in model.parameters()]
        for step in range(2):
            made = SelectiveCopying(32, 4, 16).draw(0, "train", np.arange(4 * step, 4 * step + 4))
            logits = model(torch.from_numpy(made.tokens)).logits[:, -4:]
            answers = torch.from_numpy(made.answers).long()
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), answers.flatten())
            assert torch.isfinite(loss), name
            loss.backward()
            optimizer.step()
        for (part, now), then in zip(model.named_parameters(), before, strict=True):
            assert not torch.equal(now, then), (name, part)


RESUMED = (
    "synthetic/copying_h3_s4_complex",
    "synthetic/selective_copying_warmup",
    "ablation/mamba_hyena",
)


@pytest.mark.parametrize("name", RESUMED)
def test_resumed_row_equals_uninterrupted_bit_for_bit(
    name: str, genome: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dnamamba.reports.answers.save_figure", lambda *_: None)
    monkeypatch.setattr("dnamamba.reports.pretraining.save_figure", lambda *_: None)
    own = genome if name.startswith("ablation/") else None
    ways: dict[str, dict[str, Any]] = {
        "whole": {},
        "part": {"train": {"max_steps": 2}},
        "resumed": {"ckpt_path": str(tmp_path / "part")},
    }
    if name.endswith("warmup"):
        stages = {"data": {"length_warmup": {"first_length": 16, "steps": [3]}}}
        ways = {way: stages | changes for way, changes in ways.items()}
    for way, changes in ways.items():
        cfg = OmegaConf.merge(tiny(name, own), changes)
        assert isinstance(cfg, DictConfig)
        pretrain(cfg, tmp_path / way)
    whole, resumed = (
        load_file(tmp_path / way / "model" / "model.safetensors") for way in ("whole", "resumed")
    )
    for key, tensor in whole.items():
        assert torch.equal(resumed[key], tensor), key
