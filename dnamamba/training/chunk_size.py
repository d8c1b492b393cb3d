"""How many positions a run reads at a time: `train.chunk_bases`, checked against what else is set."""

import os
from typing import Any

import lightning
import torch
from lightning.pytorch.strategies import ModelParallelStrategy

from dnamamba.data.length_schedule import Stage
from dnamamba.datasets.base import DataModule
from dnamamba.errors import UserError
from dnamamba.models.base import ModelConfig, need
from dnamamba.objectives.base import Objective
from dnamamba.planning.cost import GIB, graphs_pay, largest_chunk
from dnamamba.training.config import TrainConfig


def check_chunk(train: TrainConfig, longest: int) -> None:
    """Refuse a chunk that is longer than every sequence of a run.

    Args:
        train: the `train` group.
        longest: bases of the longest sequence.

    Raises:
        UserError: it is longer.
    """
    if type(train.chunk_bases) is int and train.chunk_bases > longest:
        raise UserError(
            f"train.chunk_bases: a chunk is longer than every sequence, of at most {longest:,} bases (got "
            f"{train.chunk_bases:,}); set at most {longest}, or null to read sequences whole"
        )


def fitting_chunk(
    config: ModelConfig,
    parameters: int,
    rows: int,
    stage: Stage,
    a_step: int,
    memory_gib: float,
    on_cpu: bool,
) -> int | None:
    """Return the chunk of `train.chunk_bases=auto`; None where whole sequences fit.

    Args:
        config: the family and shape.
        parameters: how many the model has.
        rows: sequences that a process reads at a time.
        stage: the run's longest.
        a_step: bases that a process reads in a step.
        memory_gib: what the run may take of the device.
        on_cpu: whether that is a CPU.

    Raises:
        UserError: the family was not measured, or the device holds not even a short chunk.
    """
    cost = config.step_cost()
    if cost is None:
        raise UserError(
            f"train.chunk_bases=auto: memory of the family {config.family} was not measured; set a number of "
            "bases, such as 65536"
        )
    found = largest_chunk(
        cost,
        parameters,
        sequences=rows,
        length=stage.length,
        a_step=a_step,
        memory_gib=memory_gib,
        on_cpu=on_cpu,
    )
    if found is None:
        raise UserError(
            f"train.chunk_bases=auto: no chunk of {rows:,} sequences fits the device (got {memory_gib:.1f} "
            "GiB); set a smaller data.batch_size or model"
        )
    return found if found < stage.length else None


def chunk_of(
    train: TrainConfig, model: Any, objective: Objective, data: DataModule, trainer: lightning.Trainer
) -> int | None:
    """Return the positions of a sequence that a run reads at a time; None where it reads sequences whole.

    `train.chunk_bases` is what a device reads of them: those that share a sequence read as many each.

    Args:
        train: the `train` group.
        model: what is trained.
        objective: what it is trained for.
        data: what is read.
        trainer: for the device and the number of processes.

    Raises:
        UserError: the model, the objective, the strategy or the sequences don't go with chunks.
    """
    if train.chunk_bases is None:
        return None
    stage = max(data.schedule.stages, key=lambda stage: stage.length)
    need(model.backbone, ("causal", "recurrent"), f"train.chunk_bases={train.chunk_bases}")
    objective.check_chunks()
    size = data.context_size
    part = stage.shared(size)
    check_chunk(train, part.length)
    if objective.chunks_of_backbone and isinstance(trainer.strategy, ModelParallelStrategy):
        raise UserError(
            f"train.chunk_bases: {type(objective).__name__} reads the backbone by chunks, past what shares "
            "out the model's weights (got trainer.strategy=fsdp); choose trainer=ddp"
        )
    if train.chunk_bases != "auto":
        return int(train.chunk_bases) * size
    share = stage.sequences * size // trainer.world_size
    on_cpu = trainer.strategy.root_device.type == "cpu"
    found = fitting_chunk(
        model.config,
        sum(parameter.numel() for parameter in model.parameters()),
        _rows(data, stage, share),
        part,
        share * stage.length,
        memory_at_hand(trainer.strategy.root_device),
        on_cpu,
    )
    return None if found is None else found * size


def by_graphs(
    train: TrainConfig, model: Any, objective: Objective, data: DataModule, trainer: lightning.Trainer
) -> bool:
    """Return whether a run reads chunks by CUDA graphs: `train.chunk_graphs`; `auto` where they are faster.

    Args:
        train: the `train` group.
        model: what is trained.
        objective: what it is trained for.
        data: what is read, its `chunk` set.
        trainer: for the device and the strategy.

    Raises:
        UserError: true, and something of the run does not go with them; all that does not is named.
    """
    found = _obstacles(train, model, objective, data, trainer)
    if found and train.chunk_graphs is True:
        raise UserError(
            f"train.chunk_graphs: chunks can't be CUDA graphs where {'; '.join(found)} (got true); set auto "
            "or false"
        )
    if found or train.chunk_graphs is False or data.chunk is None:
        return False
    return train.chunk_graphs is True or _graphs_pay(model, data, trainer)


def one_chunk_by_graphs(
    train: TrainConfig, model: Any, objective: Objective, data: DataModule, trainer: lightning.Trainer
) -> bool:
    """Return whether each micro-batch is read whole, as one chunk by a CUDA graph of the backbone.

    It is where sequences have one length, the head pools without weights, and `train.chunk_graphs` is true or
    launches take more time than kernels.

    Args:
        train, model, objective, data, trainer: as in `by_graphs`.
    """
    length, stage = data.common_length, data.schedule.stages[0]
    if data.chunk is not None or train.chunk_graphs is False or length is None:
        return False
    if _obstacles(train, model, objective, data, trainer):
        return False
    rows = _rows(data, stage, stage.sequences)
    return train.chunk_graphs is True or graphs_pay(rows * length, model.config.width)


def _obstacles(
    train: TrainConfig, model: Any, objective: Objective, data: DataModule, trainer: lightning.Trainer
) -> list[str]:
    """Return what of a run does not go with CUDA graphs: of chunks, or of sequences that are read whole.

    Args:
        train, model, objective, data, trainer: as in `by_graphs`.
    """
    trained = [parameter.requires_grad for parameter in model.backbone.parameters()]
    of_both = {
        "the run is not on a CUDA GPU": trainer.strategy.root_device.type != "cuda",
        "trainer=fsdp moves the weights": isinstance(trainer.strategy, ModelParallelStrategy),
        f"the family {model.config.family} is not capturable": not model.backbone.capturable,
        f"the objective {type(objective).__name__} is not capturable": not objective.capturable,
    }
    if data.chunk is None:
        own = {
            "sequences are read whole (train.chunk_bases) and have no common length": data.common_length
            is None,
            "several processes read whole sequences": trainer.world_size > 1,
            f"trainer.precision is {trainer.precision}": str(trainer.precision)
            not in ("bf16-mixed", "32-true"),
            "train.compile compiles whole sequences": bool(train.compile),
            "train.activation_checkpointing reads whole sequences twice": bool(
                train.activation_checkpointing
            ),
            "trainer.deterministic is set": torch.are_deterministic_algorithms_enabled(),
            "a part of the backbone is not trained": not all(trained),
            "the head reads all positions of a sequence together": not _has_chunks(objective),
        }
    else:
        own = {
            "the processes of a sequence talk to each other within a chunk": data.context_size > 1,
            "train.backpropagation=truncated reads chunks another way": train.backpropagation == "truncated",
            "nothing of the backbone is trained": not any(trained),
        }
    return [obstacle for obstacle, stands in (own | of_both).items() if stands]


def _has_chunks(objective: Objective) -> bool:
    try:
        objective.check_chunks()
    except UserError:
        return False
    return True


def _graphs_pay(model: Any, data: DataModule, trainer: lightning.Trainer) -> bool:
    assert data.chunk is not None
    stage = max(data.schedule.stages, key=lambda stage: stage.length)
    rows = _rows(data, stage, stage.sequences // trainer.world_size)
    return graphs_pay(rows * data.chunk, model.config.width)


def _rows(data: DataModule, stage: Stage, share: int) -> int:
    """Return how many of a process's sequences go together."""
    # The data says so; it looks at the shape alone.
    batch = {"tokens": torch.empty(share, stage.length + 1, dtype=torch.uint8, device="meta")}
    return min(share, data.micro_batch(batch))


def memory_at_hand(device: torch.device) -> float:
    """Return the GiB that a run may take: all of a GPU, half of a computer's."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory / GIB
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2 / GIB
