"""One fine-tuning run, from a configuration to a folder with everything that came of it."""

import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import lightning
import torch
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from dnamamba.checkpoint import load, save_model
from dnamamba.config import typed
from dnamamba.data.alphabet import get_alphabet
from dnamamba.data.embedded import YEAST_MODEL
from dnamamba.datasets.base import SequenceData
from dnamamba.errors import UserError
from dnamamba.files import replacing
from dnamamba.models import MambaConfig, SequenceModel
from dnamamba.objectives.sequence import Scored, SequenceTask, TaskConfig, class_weights
from dnamamba.reports.finetuning import draw, score_all, show, write_predictions
from dnamamba.training.checkpointing import LastCheckpoint
from dnamamba.training.fits.closed_form import Head, check_closed, check_question, fit_heads
from dnamamba.training.keep_best import KeepBest
from dnamamba.training.lora import add_adapters, merge_adapters
from dnamamba.training.pretraining import begin, check_groups
from dnamamba.training.progress import ProgressReport, Throughput
from dnamamba.training.resume import UNCHANGED, checkpoint_to_resume
from dnamamba.training.trainer import TrainConfig, build_trainer

GROUPS = ("data", "decoder", "task", "train", "trainer", "logger", "scratch")
OTHERS = ("mode", "model", "ckpt_path")
SCRATCH = "scratch"
# What of the data group may differ between a run and the one it goes on from.
FREE = ("num_workers", "valid_examples")


@dataclass(frozen=True)
class Pooling:
    """The `decoder` group of a configuration."""

    mode: str
    strand: str


class FinetuneReport(ProgressReport):
    """Progress with the metrics of a validation."""

    title = "fine-tuning"

    def __init__(self, console: Console) -> None:
        super().__init__(console, {})

    def validation(self, metrics: dict[str, float]) -> str:
        """Every metric of a validation."""
        found = {name[4:]: value for name, value in metrics.items() if name.startswith("val/")}
        return "  ".join(f"{name} {value:.4f}" for name, value in found.items())


def finetune(cfg: DictConfig, folder: Path) -> dict[str, Any]:
    """Train a sequence model as `cfg` (conf/finetune/finetune.yaml) says.

    Args:
        cfg: the composed configuration.
        folder: takes config.yaml, checkpoints/last.ckpt, model/, metrics.csv, metrics.json, predictions.tsv,
            learning_curve.png, and confusion_matrix.png or, of a regression, predictions.png. With
            task.fit=closed there is no checkpoint and no curve.

    Returns:
        What metrics.json holds: metrics of the validation and the test examples, with intervals for the test.

    Raises:
        UserError: the configuration, the data, the model or the checkpoint can't be used; nothing is written.
        Interrupted: a signal stopped the training; a checkpoint to resume from is in `folder`.
    """
    console = Console(markup=False, emoji=False)
    check_groups(cfg, GROUPS, OTHERS)
    if cfg.mode != "train":
        raise UserError(f"mode must be train, predict or plan, not {cfg.mode!r}")
    train = typed(cfg.train, TrainConfig, "train")
    settings = typed(cfg.task, TaskConfig, "task")
    pooling = typed(cfg.decoder, Pooling, "decoder")
    data_class, config = data_config(cfg.data)
    lightning.seed_everything(train.seed, verbose=False)
    pretrained, shape = pretrained_model(cfg, config.alphabet)
    trainer = build_trainer(cfg, train, folder)
    closed = settings.fit == "closed"
    if closed:
        check_closed(cfg.ckpt_path, trainer.world_size)
    with console.status("reading the sequences"):
        data: SequenceData = data_class(
            replace(config, alphabet=shape.alphabet),
            train.seed,
            global_batch_size=train.global_batch_size,
            max_steps=train.steps,
            world_size=trainer.world_size,
        )
    decoder = replace(data.decoder(pooling.mode), strand=pooling.strand)
    if closed:
        check_question(decoder)
    weights = class_weights(_plain(settings.class_weights), decoder, *data.train_counts)
    model = SequenceModel(shape, decoder)
    if pretrained is not None:
        model.backbone.load_state_dict(pretrained)
    model.backbone.activation_checkpointing = train.activation_checkpointing
    if settings.freeze or closed:
        model.backbone.requires_grad_(False)
    if settings.lora_rank:
        add_adapters(model, settings.lora_rank, settings.lora_alpha)

    contents: dict[str, Any] = {
        "model": shape.to_dict(),
        "decoder": decoder.to_dict(),
        "data": _plain(asdict(config)),
        "train": asdict(train),
        "task": _plain(asdict(settings)),
        "genome": data.identity,
    }
    resume_from = checkpoint_to_resume(cfg.ckpt_path, folder, contents, train.steps, _unchanged(contents))
    task = SequenceTask(
        model,
        train.schedule(train.steps),
        config=settings,
        weights=weights,
        padding=data.padding,
        weight_decay=train.weight_decay,
        betas=(train.betas[0], train.betas[1]),
        gradient_clip=train.gradient_clip,
        micro_batch=data.micro_batch,
        describe=data.describe,
    )
    best = KeepBest(settings.monitor, settings.patience)
    last = LastCheckpoint(folder / "checkpoints", train.checkpoint_every, contents, train.validate_every)
    report = FinetuneReport(console)
    trainer.callbacks.extend([Throughput(), report, best, last])  # type: ignore[attr-defined]
    learning = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    source = "random weights" if pretrained is None else cfg.model or "the package's yeast model"
    console.print(f"{_size(model)}, {learning:,} of them learning, from {source}", soft_wrap=True)
    for line in (f"{data.label}: {data.summary}", *data.notes):
        console.print(line, soft_wrap=True)

    began = time.perf_counter()
    # Before there is a folder: a pass that is stopped leaves nothing.
    heads = fit_heads(trainer, task, data, train.steps, console) if closed else {}
    begin(cfg, folder, trainer, resume_from)
    last.take_signals(trainer)
    try:
        if not closed:
            trainer.fit(task, datamodule=data, ckpt_path=resume_from)
        seconds = time.perf_counter() - began
        if settings.keep_best:
            best.restore(model)
        if settings.lora_rank:
            merge_adapters(model)
        if trainer.is_global_zero:
            save_model(model, folder / "model")
        with console.status("scoring the held-out sequences"):
            scored = _scored(trainer, task, data, heads)
    finally:
        last.restore_signals()
    if not trainer.is_global_zero:
        return {}
    with console.status("bootstrapping"):
        results = score_all(decoder, scored, settings.bootstrap)
    steps = train.steps if closed else trainer.global_step
    results |= {
        "steps": steps,
        "kept_step": best.step if settings.keep_best and best.weights else steps,
        "training_seconds": round(seconds, 1),
        "data": {"label": data.label, "summary": data.summary, "notes": list(data.notes)},
    }
    if closed:
        results["head_from"] = {split: list(head.splits) for split, head in heads.items()}
    with replacing(folder / "metrics.json") as beside:
        beside.write_text(json.dumps(results, indent=2) + "\n")
    write_predictions(folder / "predictions.tsv", decoder, data, scored)
    draw(folder, decoder, results, scored, data.label)
    show(console, results, folder)
    return results


def data_config(group: DictConfig) -> tuple[type[SequenceData], Any]:
    """The data module that `data._target_` names, and its settings.

    Raises:
        UserError: there is no such class, or a setting is wrong.
    """
    name = group.get("_target_")
    try:
        found = get_class(str(name))
    except Exception as error:  # Hydra raises many types for a path that is none
        reason = " ".join(str(error).split())
        raise UserError(f"data._target_={name} is no data module ({reason})") from None
    if not issubclass(found, SequenceData):
        raise UserError(f"data._target_={name} is no SequenceData: it can't be fine-tuned on")
    rest = OmegaConf.masked_copy(group, [str(key) for key in group if key != "_target_"])
    return found, typed(rest, found.config_class, "data")


def pretrained_model(
    cfg: DictConfig, alphabet: str | None
) -> tuple[dict[str, torch.Tensor] | None, MambaConfig]:
    """The backbone's weights, None of `model=scratch`, and the shape of the model.

    Raises:
        UserError: there is no model there, or it is of another alphabet than `data.alphabet` asks for.
    """
    if not isinstance(cfg.model, str | None):
        raise UserError(f"model must be a path, {SCRATCH} or null, not {cfg.model!r}")
    if cfg.model == SCRATCH:
        name = alphabet or "dna"
        shape = {**cfg.scratch, "alphabet": name, "vocab_size": get_alphabet(name).size}
        return None, typed(OmegaConf.create(shape), MambaConfig, "scratch")
    model = load(cfg.model or YEAST_MODEL)
    if alphabet is not None and alphabet != model.config.alphabet:
        get_alphabet(alphabet)
        raise UserError(
            f"{cfg.model or 'the package model'} is of alphabet {model.config.alphabet!r}, but "
            f"data.alphabet is {alphabet!r}"
        )
    return model.backbone.state_dict(), model.config


def _unchanged(contents: dict[str, Any]) -> dict[str, list[str]]:
    """What may not differ from the run that a checkpoint is of: all that decides a step."""
    return {
        "data": [key for key in contents["data"] if key not in FREE],
        "train": [*UNCHANGED["train"], "validate_every"],
        # Of a head in closed form there is no checkpoint: how it is found never differs.
        "task": [key for key in contents["task"] if key not in ("bootstrap", "fit", "shrinkage", "refit")],
        "decoder": list(contents["decoder"]),
        "genome": list(contents["genome"]),
    }


def _plain(value: Any) -> Any:
    """Without OmegaConf's containers, as JSON and checkpoints hold it."""
    if OmegaConf.is_config(value):
        return OmegaConf.to_container(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _scored(
    trainer: lightning.Trainer, task: SequenceTask, data: SequenceData, heads: dict[str, Head]
) -> dict[str, Scored]:
    """What the model, with the head of a split where there is one, makes of its every example."""
    found = {}
    for split, loader in data.held_out_loaders():
        if split in heads:
            heads[split].give(task.model)
        (trainer.validate if split == "valid" else trainer.test)(task, dataloaders=loader, verbose=False)
        assert task.scored is not None
        found[split] = task.scored
    return found


def _size(model: SequenceModel) -> str:
    return f"Mamba with {sum(parameter.numel() for parameter in model.parameters()):,} parameters"
