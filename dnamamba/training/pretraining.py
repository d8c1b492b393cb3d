"""One pretraining run, from a configuration to a folder with everything that came of it."""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from dnamamba.checkpoint import load, save_model
from dnamamba.config import typed
from dnamamba.data.alphabet import get_alphabet
from dnamamba.datasets.genome.config import GenomeConfig
from dnamamba.datasets.genome.data import GenomeData
from dnamamba.errors import UserError
from dnamamba.files import replacing
from dnamamba.models import LanguageModel, MambaConfig
from dnamamba.objectives.next_base import NextBase
from dnamamba.reports.figures import learning_curve, read_metrics, save_figure
from dnamamba.training.checkpointing import LastCheckpoint
from dnamamba.training.progress import ProgressReport, Throughput
from dnamamba.training.resume import checkpoint_to_resume, metrics_until
from dnamamba.training.trainer import TrainConfig, build_trainer

GROUPS = ("data", "model", "train", "trainer", "logger")


def pretrain(cfg: DictConfig, folder: Path) -> dict[str, Any]:
    """Train a language model as `cfg` (conf/pretrain.yaml) says.

    Args:
        cfg: the composed configuration.
        folder: takes config.yaml, checkpoints/last.ckpt, model/, metrics.csv, results.json and
            learning_curve.png.

    Returns:
        What results.json holds: bits per base of the held-out records, of the Markov models, bases, seconds.

    Raises:
        UserError: the configuration, the FASTA file or the checkpoint can't be used; nothing was written.
        Interrupted: a signal stopped the run; a checkpoint to resume from is in `folder`.
    """
    console = Console(markup=False, emoji=False)
    check_groups(cfg, GROUPS)
    train = typed(cfg.train, TrainConfig, "train")
    genome = typed(cfg.data, GenomeConfig, "data")
    config = model_config(cfg)
    lightning.seed_everything(train.seed, verbose=False)
    model = LanguageModel(config)
    model.backbone.activation_checkpointing = train.activation_checkpointing
    trainer = build_trainer(cfg, train, folder)
    console.quiet = not trainer.is_global_zero
    data = GenomeData(
        genome,
        train.seed,
        console,
        global_batch_size=train.global_batch_size,
        max_steps=train.max_steps,
        world_size=trainer.world_size,
    )
    trainer.fit_loop.epoch_loop.max_steps = data.schedule.max_steps
    contents = {
        "model": config.to_dict(),
        "data": asdict(genome),
        "train": asdict(train),
        "genome": data.identity,
    }
    resume_from = checkpoint_to_resume(cfg.ckpt_path, folder, contents, data.schedule.max_steps)
    task = NextBase(
        model,
        data.alphabet,
        train.schedule(data.schedule.max_steps),
        weight_decay=train.weight_decay,
        betas=(train.betas[0], train.betas[1]),
        gradient_clip=train.gradient_clip,
        micro_batch=data.micro_batch,
        describe=data.describe,
    )
    last = LastCheckpoint(folder / "checkpoints", train.checkpoint_every, contents)
    watched = data.markov_bits("valid", watched=True)
    trainer.callbacks.extend([Throughput(), ProgressReport(console, watched), last])  # type: ignore[attr-defined]
    console.print(f"{_size(model)}, {data.summary}", soft_wrap=True)
    if len(data.schedule.stages) > 1:
        console.print(data.stages, soft_wrap=True)

    begin(cfg, folder, trainer, resume_from)
    began = time.perf_counter()
    last.take_signals(trainer)
    try:
        trainer.fit(task, datamodule=data, ckpt_path=resume_from)
        seconds = time.perf_counter() - began
        if trainer.is_global_zero:
            save_model(load(last.path), folder / "model")  # of the checkpoint, which has all of the weights
        with console.status("scoring the held-out records"):
            results = _score(trainer, task, data)
    finally:
        last.restore_signals()
    bases_per_step = train.global_batch_size * genome.max_length
    results |= {
        "steps": trainer.global_step,
        "bases": trainer.global_step * bases_per_step,
        "training_seconds": round(seconds, 1),
    }
    if trainer.is_global_zero:
        with replacing(folder / "results.json") as beside:
            beside.write_text(json.dumps(results, indent=2) + "\n")
        _draw(folder, results, bases_per_step, watched, f"{_size(model)} on {data.label}")
        _show(console, results, folder)
    return results


def begin(cfg: DictConfig, folder: Path, trainer: lightning.Trainer, resume_from: Path | None) -> None:
    """Make a run's folder, with its configuration and what an interrupted run had logged.

    Of several processes only the first reads that: its logger is about to begin the same file anew.
    """
    if not trainer.is_global_zero:
        return
    earlier = metrics_until(resume_from) if resume_from is not None else []
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / "config.yaml") as beside:
        OmegaConf.save(cfg, beside, resolve=True)
    for row in earlier:
        step = int(row.pop("step"))
        for logger in trainer.loggers:
            logger.log_metrics(row, step)


def check_groups(cfg: DictConfig, groups: Sequence[str], others: Sequence[str] = ("ckpt_path",)) -> None:
    """That a configuration has groups where groups belong, and nothing unknown.

    Raises:
        UserError: naming the key.
    """
    known = (*groups, *others)
    unknown = [str(key) for key in cfg if key not in known]
    if unknown:
        raise UserError(f"unknown setting {', '.join(unknown)}; the settings are {', '.join(known)}")
    for key in groups:
        if not isinstance(cfg[key], DictConfig):
            raise UserError(f"{key} must be a group of settings, not {cfg[key]!r}")
    if not isinstance(cfg.ckpt_path, str | None):
        raise UserError(f"ckpt_path must be a path or `last`, not {cfg.ckpt_path!r}")


def model_config(cfg: DictConfig) -> MambaConfig:
    """The model's shape; a vocabulary left open is the alphabet's.

    Raises:
        UserError: a number is out of range, or the alphabet does not fit the vocabulary.
    """
    alphabet = get_alphabet(cfg.data.alphabet)
    vocab_size = alphabet.size if cfg.model.vocab_size is None else cfg.model.vocab_size
    group = cfg.model.copy()
    group.vocab_size = vocab_size
    config = typed(group, MambaConfig, "model")
    if config.alphabet != alphabet.name:
        raise UserError(f"model.alphabet is {config.alphabet!r}, but data.alphabet is {alphabet.name!r}")
    if config.vocab_size < alphabet.size:
        raise UserError(
            f"model.vocab_size is {config.vocab_size}, but alphabet {alphabet.name!r} has {alphabet.size} ids"
        )
    return config


def _score(trainer: lightning.Trainer, task: NextBase, data: GenomeData) -> dict[str, Any]:
    """Bits per base of every held-out window, of the model and of the Markov models."""
    results: dict[str, Any] = {"bits_per_base": {}, "accuracy": {}, "markov_bits_per_base": {}}
    for split, loader in data.held_out_loaders():
        score = trainer.validate if split == "valid" else trainer.test
        scored = score(task, dataloaders=loader, verbose=False)[0]
        prefix = "val" if split == "valid" else "test"
        results["bits_per_base"][split] = scored[f"{prefix}/bits_per_base"]
        results["accuracy"][split] = scored[f"{prefix}/accuracy"]
        results["markov_bits_per_base"][split] = data.markov_bits(split)
    return results


def _draw(
    folder: Path, results: dict[str, Any], bases_per_step: int, watched: dict[int, float], title: str
) -> None:
    """The learning curve, where a logger has left metrics.csv to draw it from."""
    metrics = folder / "metrics.csv"
    if not metrics.is_file():
        return
    for split, bits in results["bits_per_base"].items():
        markov = results["markov_bits_per_base"][split]
        best = f" (Markov of order {max(markov)}: {markov[max(markov)]:.4f})" if markov else ""
        title += f"\nin the end, all of {split}: {bits:.4f} bits per base{best}"
    save_figure(
        learning_curve(read_metrics(metrics), bases_per_step, watched, title), folder / "learning_curve.png"
    )


def _show(console: Console, results: dict[str, Any], folder: Path) -> None:
    """The run's outcome beside the Markov models, and where everything lies."""
    for split, bits in results["bits_per_base"].items():
        table = Table(title=f"{split} (lower is better)", title_justify="left")
        table.add_column("model")
        table.add_column("bits per base", justify="right")
        rows = {
            f"Markov, order {order}": value for order, value in results["markov_bits_per_base"][split].items()
        }
        rows["Mamba"] = bits
        for name, value in sorted(rows.items(), key=lambda row: -row[1]):
            table.add_row(name, f"{value:.4f}", style="bold" if name == "Mamba" else None)
        console.print(table)
    for label, name in (
        ("checkpoint", "checkpoints/last.ckpt"),
        ("model", "model"),
        ("metrics", "metrics.csv"),
        ("results", "results.json"),
        ("picture", "learning_curve.png"),
    ):
        if (folder / name).exists():
            console.print(f"{label:<11}{folder / name}", soft_wrap=True, highlight=False)


def _size(model: LanguageModel) -> str:
    return f"Mamba with {sum(parameter.numel() for parameter in model.parameters()):,} parameters"
