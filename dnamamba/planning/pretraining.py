"""What a run will do, before it does it: stages, steps, bases, memory and time."""

import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from dnamamba.config import typed
from dnamamba.data.alphabet import get_alphabet
from dnamamba.data.embedded import YEAST_FASTA
from dnamamba.data.epochs import samples_of
from dnamamba.data.fai import fai_lengths
from dnamamba.data.fasta import Genome
from dnamamba.data.hg38 import SEGMENT_LENGTH, read_split_intervals
from dnamamba.data.length_schedule import LengthSchedule, Stage, micro_batches
from dnamamba.datasets.genome.config import GenomeConfig
from dnamamba.errors import UserError
from dnamamba.models import LanguageModel, MambaConfig
from dnamamba.planning.cost import DEVICES, GIB, Device, step_bytes, step_seconds
from dnamamba.training.pretraining import model_config
from dnamamba.training.trainer import TrainConfig


@dataclass(frozen=True)
class StagePlan:
    """A stage, and what it takes; memory and time are estimates, None where the device was not measured."""

    stage: int
    length: int
    sequences_per_step: int
    bases_per_step: int
    micro_batch: int  # sequences of a process at a time
    micro_batches: int  # of a process, a step
    steps: int
    bases: int
    memory_gib: float
    seconds: float | None


@dataclass(frozen=True)
class Plan:
    """A run: its stages and their totals. `memory_gib` is of one process, at its most."""

    parameters: int
    processes: int
    device: str
    device_memory_gib: float | None
    stages: tuple[StagePlan, ...]

    @property
    def steps(self) -> int:
        """Optimiser steps of the run."""
        return sum(stage.steps for stage in self.stages)

    @property
    def bases(self) -> int:
        """Targets of the run, of all processes."""
        return sum(stage.bases for stage in self.stages)

    @property
    def memory_gib(self) -> float:
        """The most that a process needs at any time."""
        return max(stage.memory_gib for stage in self.stages)

    @property
    def seconds(self) -> float | None:
        """Time of all training steps; validations and loading are not in it."""
        times = [stage.seconds for stage in self.stages if stage.seconds is not None]
        return sum(times) if times else None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, totals included."""
        totals = {name: getattr(self, name) for name in ("steps", "bases", "memory_gib", "seconds")}
        return {**asdict(self), **totals}


def plan(
    stages: Sequence[Stage],
    model: MambaConfig,
    *,
    bases_at_a_time: int,
    processes: int = 1,
    checkpointing: bool = False,
    device: Device | None = None,
    device_name: str = "",
    device_memory_gib: float | None = None,
) -> Plan:
    """The plan of a run, pretraining or fine-tuning; nothing is trained and no GPU is touched.

    Args:
        stages: of the run.
        model: its shape.
        bases_at_a_time: the most bases that a process reads at a time.
        processes: GPUs, together on all machines.
        checkpointing: whether activations are computed again in the backward pass.
        device: to estimate the time of; None if it was never measured.
        device_name, device_memory_gib: of a device that is not among the measured ones.

    Raises:
        UserError: a stage's sequences that can't be shared by the processes or read that many at a time.
    """
    with torch.device("meta"):
        parameters = sum(parameter.numel() for parameter in LanguageModel(model).parameters())
    rows = []
    for stage in stages:
        size, accumulate = micro_batches(
            stage.sequences, stage.length, world_size=processes, bases_at_a_time=bases_at_a_time
        )
        needed = step_bytes(
            model,
            parameters,
            at_a_time=size * stage.length,
            a_step=size * accumulate * stage.length,
            checkpointing=checkpointing,
        )
        seconds = None
        if device is not None:
            seconds = stage.steps * step_seconds(
                model,
                device,
                sequences=size,
                length=stage.length,
                accumulate=accumulate,
                checkpointing=checkpointing,
            )
        rows.append(
            StagePlan(
                stage.number,
                stage.length,
                stage.sequences,
                stage.sequences * stage.length,
                size,
                accumulate,
                stage.steps,
                stage.bases,
                needed / GIB,
                seconds,
            )
        )
    if device is not None:
        device_name, device_memory_gib = device.name, device.memory_gib
    return Plan(parameters, processes, device_name, device_memory_gib, tuple(rows))


@dataclass(frozen=True)
class PlanConfig:
    """The `plan` group; conf/plan.yaml explains each key."""

    device: str | None
    json: bool
    training_segments: int


def plan_pretraining(cfg: DictConfig) -> Plan:
    """The plan of a pretraining run, with no more of its genome than an index or an interval file.

    Args:
        cfg: conf/plan.yaml, composed. An interval file that is not there yet is planned without.

    Raises:
        UserError: the settings do not go together, or an epoch's length is not known without the genome.
    """
    options = typed(cfg.plan, PlanConfig, "plan")
    cfg = cfg.copy()
    for key in ("fasta", "intervals"):
        if OmegaConf.is_missing(cfg.data, key):
            cfg.data[key] = f"({key} not given)"
    data, train = typed(cfg.data, GenomeConfig, "data"), typed(cfg.train, TrainConfig, "train")
    processes = processes_of(cfg.trainer)
    schedule: LengthSchedule = data.schedule(
        global_batch_size=train.global_batch_size,
        max_steps=train.max_steps,
        world_size=processes,
        samples_per_epoch=partial(_samples_per_epoch, data, options.training_segments),
    )
    train.schedule(schedule.max_steps)
    return plan_on(
        options.device,
        schedule.stages,
        model_config(cfg),
        train,
        bases_at_a_time=data.bases_at_a_time,
        processes=processes,
    )


def print_plan(cfg: DictConfig) -> None:
    """Print `plan_pretraining` as a table, or as JSON."""
    made = plan_pretraining(cfg)
    if cfg.plan.json:
        print(json.dumps(made.to_dict(), indent=2))
    else:
        console = Console(markup=False, emoji=False)
        show_plan(made, console)
        for key in ("fasta", "intervals"):
            path = None if OmegaConf.is_missing(cfg.data, key) else cfg.data[key]
            if path is not None and not Path(path).expanduser().exists():
                console.print(f"data.{key}={path} is not there: planned without it", soft_wrap=True)


def show_plan(made: Plan, console: Console) -> None:
    """Print a plan as a table."""
    table = Table(title="a step is of all processes, a micro-batch of one", title_justify="left")
    for column in ("length", "sequences\na step", "micro-batches\na step", "steps", "G bases"):
        table.add_column(column, justify="right", no_wrap=True)
    for column in ("GiB", "time"):
        table.add_column(f"{column}\n(est.)", justify="right", no_wrap=True)
    for row in made.stages:
        table.add_row(
            f"{row.length:,}",
            f"{row.sequences_per_step:,}",
            f"{row.micro_batches:,} x {row.micro_batch:,}",
            f"{row.steps:,}",
            f"{row.bases / 1e9:,.2f}",
            f"{row.memory_gib:.1f}",
            duration(row.seconds),
        )
    console.print(table)
    lines = [
        f"{made.parameters:,} parameters; {made.steps:,} steps, {made.bases / 1e9:,.4g} G bases "
        f"({made.bases:,})",
        f"estimated on {made.processes} x {made.device}: {made.memory_gib:.1f} GiB each, "
        f"{duration(made.seconds)} of training steps",
    ]
    if made.device_memory_gib is not None and made.memory_gib > made.device_memory_gib:
        lines.append(
            f"that is more than its {made.device_memory_gib:.0f} GiB: set a smaller data.batch_size or "
            "train.activation_checkpointing=true"
        )
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False)


def duration(seconds: float | None) -> str:
    """Seconds as a person says them."""
    if seconds is None:
        return "not measured"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    if minutes < 120:
        return f"{minutes:.0f} min"
    return f"{minutes / 60:.1f} h" if minutes < 48 * 60 else f"{minutes / 60 / 24:.1f} days"


def _samples_per_epoch(data: GenomeConfig, segments: int, length: int) -> int:
    """Samples of an epoch by the interval file, by the FASTA's index, or by a number of segments."""
    if data.intervals is not None:
        if not Path(data.intervals).expanduser().is_file():
            return segments * samples_of(SEGMENT_LENGTH, length)
        return data.samples_per_epoch(read_split_intervals(data.intervals), length)
    fasta = Path(data.fasta or YEAST_FASTA).expanduser()
    index = fasta.with_name(f"{fasta.name}.fai")
    if data.fasta is None:
        lengths = Genome(fasta, get_alphabet(data.alphabet)).lengths
    elif index.is_file():
        lengths = fai_lengths(index)
    else:
        raise UserError(
            f"{index} is not there, and an epoch is as long as the genome: make it with `samtools faidx "
            f"{fasta}`, or set data.length_warmup.steps in place of epochs"
        )
    return data.samples_per_epoch(data.splits(lengths), length)


def processes_of(trainer: DictConfig) -> int:
    """GPUs of a run, together on all machines.

    Raises:
        UserError: the `trainer` group leaves their number to be found out, or it is none.
    """
    for key in ("devices", "num_nodes"):
        if type(trainer[key]) is not int or trainer[key] < 1:
            raise UserError(
                f"trainer.{key} must be a number of at least 1 to plan with, not {trainer[key]!r}"
            )
    return int(trainer.devices * trainer.num_nodes)


def plan_on(
    device: str | None,
    stages: Sequence[Stage],
    model: MambaConfig,
    train: TrainConfig,
    *,
    bases_at_a_time: int,
    processes: int,
) -> Plan:
    """`plan` for the device of that name, or for the one at hand."""
    name, memory_gib = device_at_hand(device)
    return plan(
        stages,
        model,
        bases_at_a_time=bases_at_a_time,
        processes=processes,
        checkpointing=train.activation_checkpointing,
        device=next((known for known in DEVICES.values() if known.name in name.lower()), None),
        device_name=name,
        device_memory_gib=memory_gib,
    )


def device_at_hand(name: str | None) -> tuple[str, float | None]:
    """The device to plan for, and its memory in GiB if it is at hand."""
    if name is not None:
        if name not in DEVICES:
            raise UserError(f"plan.device must be one that was measured ({', '.join(DEVICES)}), not {name!r}")
        return name, None
    # torch would begin to use the GPU to say as much.
    if shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
        found = subprocess.run(query, capture_output=True, text=True, check=False)
        if found.returncode == 0 and found.stdout.strip():
            gpu, mebibytes = found.stdout.splitlines()[0].rsplit(",", 1)
            return gpu.strip(), float(mebibytes) / 1024
    return "h200", None
