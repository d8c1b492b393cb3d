"""What a run will do, before it does it: stages, steps, bases, memory and time."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from dnamamba.data.length_schedule import Stage, micro_batches, rows_at_a_time
from dnamamba.datasets.base import DataConfig, longest
from dnamamba.errors import UserError
from dnamamba.models import LanguageModel, ModelConfig, StepCost
from dnamamba.models.base import need, need_reach
from dnamamba.planning.cost import (
    DEVICES,
    GIB,
    HELD_BY_GRAPHS,
    Device,
    chunked_bytes,
    chunked_seconds,
    graphs_pay,
    step_bytes,
    step_seconds,
)
from dnamamba.planning.devices import CPU, device_at_hand
from dnamamba.training.chunk_size import check_chunk, fitting_chunk
from dnamamba.training.config import TrainConfig
from dnamamba.training.context import check_parts


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
    memory_gib: float | None
    seconds: float | None


@dataclass(frozen=True)
class Plan:
    """A run: its stages and their totals.

    Attributes:
        parameters: of the model.
        processes: of the run, together on all machines.
        device, device_memory_gib: what a process runs on.
        stages: in order.
        chunk_bases: positions of a sequence that are read at a time; None: all.
        graphs: whether chunks are CUDA graphs.
    """

    parameters: int
    processes: int
    device: str
    device_memory_gib: float | None
    stages: tuple[StagePlan, ...]
    context_size: int = 1  # processes that read a sequence together
    chunk_bases: int | None = None
    graphs: bool = False

    @property
    def steps(self) -> int:
        """Optimiser steps of the run."""
        return sum(stage.steps for stage in self.stages)

    @property
    def bases(self) -> int:
        """Targets of the run, of all processes."""
        return sum(stage.bases for stage in self.stages)

    @property
    def memory_gib(self) -> float | None:
        """The most that a process needs at any time, in GiB; None of a family that was not measured."""
        needed = [stage.memory_gib for stage in self.stages if stage.memory_gib is not None]
        return max(needed, default=None)

    @property
    def seconds(self) -> float | None:
        """Time of all training steps; validations and loading are not in it."""
        times = [stage.seconds for stage in self.stages if stage.seconds is not None]
        return sum(times) if times else None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, totals included."""
        totals = {name: getattr(self, name) for name in ("steps", "bases", "memory_gib", "seconds")}
        return {**asdict(self), **totals}


def plan(
    stages: Sequence[Stage],
    model: ModelConfig,
    *,
    bases_at_a_time: int,
    processes: int = 1,
    context_size: int = 1,
    train: TrainConfig | None = None,
    shared_weights: bool = False,
    passes: int = 1,
    device: Device | None = None,
    device_name: str = "",
    device_memory_gib: float | None = None,
) -> Plan:
    """Plan a run, pretraining or fine-tuning; nothing is trained and no GPU is touched.

    Args:
        stages: of the run.
        model: its shape.
        bases_at_a_time: the most bases that are read at a time, by a process or by those of one context.
        processes: GPUs, together on all machines.
        context_size: those of them that read a sequence together, each its part.
        train: says how a step is taken: by chunks, or with activation checkpointing.
        shared_weights: whether the trainer's strategy is `fsdp`.
        passes: how many times a step reads each base, all kept until the backward pass: 2 with a decoder's
            `context=both`.
        device: to estimate the time of; None if it was never measured.
        device_name, device_memory_gib: of a device that is not among the measured ones.

    Raises:
        UserError: a stage's sequences that can't be shared by the processes or read that many at a time, or
            a chunk that can't be.
    """
    train = train or TrainConfig()
    if device is not None:
        device_name, device_memory_gib = device.name, device.memory_gib
    with torch.device("meta"):
        built = LanguageModel(model)
    parameters = sum(parameter.numel() for parameter in built.parameters())
    check_parts(context_size, built.backbone, stages)
    last = max(stages, key=lambda stage: stage.length)
    need_reach(built.backbone, last.length)
    chunk = None
    if train.chunk_bases is not None:
        need(built.backbone, ("causal", "recurrent"), f"train.chunk_bases={train.chunk_bases}")
        check_chunk(train, last.shared(context_size).length)
        chunk = train.chunk_bases
    batch_size = bases_at_a_time // last.length
    share = last.sequences * context_size // processes
    if chunk == "auto":
        if device_memory_gib is None:
            raise UserError(
                f"train.chunk_bases=auto: its memory is not known (got device {device_name}); set plan.device"
            )
        chunk = fitting_chunk(
            model,
            parameters,
            min(share, batch_size),
            last.shared(context_size),
            share * last.length,
            device_memory_gib,
            on_cpu=device_name == CPU,
        )
    graphs = (
        chunk is not None
        and train.chunk_graphs is not False
        and (train.chunk_graphs is True or graphs_pay(min(share, batch_size) * chunk, model.width))
        and train.backpropagation == "exact"
        and context_size == 1
        and not shared_weights
        and device_name != CPU
        and built.backbone.capturable
    )
    cost = model.step_cost()
    rows = []
    for stage in stages:
        reach = bases_at_a_time
        if chunk is not None:
            together = chunk * context_size
            reach = rows_at_a_time(batch_size, last.length, stage.length, together) * stage.length
        size, accumulate = micro_batches(
            stage.sequences,
            stage.length,
            world_size=processes // context_size,
            bases_at_a_time=reach,
        )
        part = stage.shared(context_size)
        needed = seconds = None
        if cost is not None:
            # Tokens come whole to every process.
            tokens = size * accumulate * stage.length
            needed = _bytes(
                cost, parameters, part, passes * size, tokens, chunk, train, graphs, device_name == CPU
            )
        if cost is not None and device is not None:
            seconds = stage.steps * _seconds(
                cost, device, part, passes * size, accumulate, chunk, train, graphs, context_size
            )
        rows.append(
            StagePlan(
                stage.number,
                stage.length,
                stage.sequences,
                stage.bases_per_step,
                size,
                accumulate,
                stage.steps,
                stage.bases,
                None if needed is None else needed / GIB,
                seconds,
            )
        )
    return Plan(
        parameters, processes, device_name, device_memory_gib, tuple(rows), context_size, chunk, graphs
    )


def _bytes(
    cost: StepCost,
    parameters: int,
    stage: Stage,
    size: int,
    a_step: int,
    chunk: int | None,
    train: TrainConfig,
    graphs: bool,
    on_cpu: bool,
) -> float:
    """Estimate a process's peak bytes: steps of `a_step` bases, micro-batches of `size` sequences."""
    if chunk is None and not on_cpu:
        checkpointing = train.activation_checkpointing
        return step_bytes(
            cost, parameters, at_a_time=size * stage.length, a_step=a_step, checkpointing=checkpointing
        )
    length = stage.length
    needed = chunked_bytes(
        cost,
        parameters,
        sequences=size,
        length=length,
        chunk=chunk or length,
        a_step=a_step,
        on_cpu=on_cpu,
    )
    return needed + (HELD_BY_GRAPHS if graphs else 0)


def _seconds(
    cost: StepCost,
    device: Device,
    stage: Stage,
    size: int,
    accumulate: int,
    chunk: int | None,
    train: TrainConfig,
    graphs: bool,
    context_size: int,
) -> float:
    """Estimate the seconds of a stage's step; sequences of different lengths count as of the mean length."""
    length = stage.length if stage.mean is None else round(stage.mean)
    if chunk is None:
        checkpointing = train.activation_checkpointing
        return step_seconds(
            cost, device, sequences=size, length=length, accumulate=accumulate, checkpointing=checkpointing
        )
    truncated = train.backpropagation == "truncated"
    return chunked_seconds(
        cost,
        device,
        sequences=size,
        length=length,
        chunk=chunk,
        accumulate=accumulate,
        truncated=truncated,
        graphs=graphs,
        shared=context_size > 1,
    )


def plan_run(
    data: DataConfig,
    model: ModelConfig,
    train: TrainConfig,
    processes: int,
    *,
    context_size: int = 1,
    shared_weights: bool = False,
    passes: int = 1,
    device: str | None = None,
    on_cpu: bool = False,
    training_segments: int = 0,
) -> Plan:
    """Plan the run that these settings describe; of the data at most an index is read.

    Memory and time are those of a pretraining step; fine-tuning reads as many bases through the same blocks,
    `passes` times. What a head adds to that is not counted.

    Args:
        data: the `data` group.
        model: the family and shape.
        train: the `train` group.
        processes: of all machines.
        context_size: those of them that read a sequence together.
        shared_weights: whether the trainer's strategy is `fsdp`.
        passes: as of `plan`.
        device: one that was measured, by name; None for the one at hand.
        on_cpu: whether that is the CPU.
        training_segments: of an interval file that is not there yet.

    Raises:
        UserError: the settings do not go together, or say too little of the sequences' length.
    """
    train = train.filled().in_sequences(longest(data))
    epochs = getattr(train, "epochs", None)
    if epochs is not None:
        raise UserError(
            f"train.epochs: only the data tell how many steps that is (got {epochs:g}); set "
            "train.max_steps to plan"
        )
    schedule = data.planned(
        global_batch_size=train.sequences_per_step,
        max_steps=train.max_steps,
        world_size=processes // context_size,
        training_segments=training_segments,
    )
    train.schedule(schedule.max_steps)
    name, memory_gib = device_at_hand(device, on_cpu=on_cpu)
    return plan(
        schedule.stages,
        model,
        bases_at_a_time=data.bases_at_a_time,
        processes=processes,
        context_size=context_size,
        train=train,
        shared_weights=shared_weights,
        passes=passes,
        device=next((known for known in DEVICES.values() if known.name in name.lower()), None),
        device_name=name,
        device_memory_gib=memory_gib,
    )
