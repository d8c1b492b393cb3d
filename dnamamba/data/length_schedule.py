"""Sequence-length warmup: which length a training step has, as a pure function of the step.

A stage is a run of steps at one length. The bases of a step are the same in all stages, so that the batch
halves when the length doubles. A stage lasts a number of epochs or of steps; the stages are laid end to end
before they are rounded to whole steps, so that eight stages of 531.6 steps take 4,253 and not 4,256.

    schedule = length_schedule(doublings(2**10, 2**20), bases_per_step=2**24, epochs=2,
                               samples_per_epoch=hg38.samples_per_epoch)
    schedule.max_steps, schedule.bases           # 19,137 and 321,065,582,592
    schedule.stage_at(19_000).length             # 1,048,576
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from dnamamba.data.stateless import Int64s
from dnamamba.errors import UserError


@dataclass(frozen=True)
class Stage:
    """The steps `first_step` to `end_step` (not included), all of `sequences` samples of `length` bases.

    Where samples differ in length, `length` is that of the longest and `mean` their mean.
    """

    number: int
    length: int
    sequences: int
    first_step: int
    end_step: int
    mean: float | None = None

    @property
    def steps(self) -> int:
        """Optimiser steps of the stage."""
        return self.end_step - self.first_step

    @property
    def bases_per_step(self) -> int:
        """Targets of a step; on average, where samples differ in length."""
        return round(self.sequences * (self.length if self.mean is None else self.mean))

    @property
    def bases(self) -> int:
        """Targets of the stage."""
        return self.steps * self.bases_per_step

    def shared(self, processes: int) -> Stage:
        """Return the stage as one of so many processes sees it that read each sample together."""
        mean = None if self.mean is None else self.mean / processes
        return replace(self, length=-(-self.length // processes), mean=mean)

    def samples(self, step: int, rank: int = 0, world_size: int = 1) -> Int64s:
        """Return the numbers of the samples `[sequences / world_size]` that one process reads at a step.

        Every stage counts its own samples, from 0.

        Args:
            step: of the run.
            rank: of the process.
            world_size: number of processes.
        """
        assert self.sequences % world_size == 0
        share = self.sequences // world_size
        first = (step - self.first_step) * self.sequences + rank * share
        return np.arange(first, first + share, dtype=np.int64)


@dataclass(frozen=True)
class LengthSchedule:
    """The stages of a run, in order and without gaps."""

    stages: tuple[Stage, ...]

    @property
    def max_steps(self) -> int:
        """Optimiser steps of the whole run."""
        return self.stages[-1].end_step

    @property
    def bases(self) -> int:
        """Targets of the whole run."""
        return sum(stage.bases for stage in self.stages)

    def stage_at(self, step: int) -> Stage:
        """Return the stage of an optimiser step, counted from 0; beyond the last step, the last stage."""
        place = bisect_right(self.stages, step, key=lambda stage: stage.first_step) - 1
        return self.stages[max(place, 0)]


def doublings(first: int, last: int) -> tuple[int, ...]:
    """Return `first`, twice it, four times it, ... and `last`.

    Raises:
        UserError: `last` is not `first` doubled some times.
    """
    lengths = [first]
    while lengths[-1] < last:
        lengths.append(2 * lengths[-1])
    if lengths[-1] != last:
        raise UserError(f"a length of {last:,} is not {first:,} doubled some number of times")
    return tuple(lengths)


def length_schedule(
    lengths: Sequence[int],
    *,
    bases_per_step: int,
    epochs: float | None = None,
    steps: int | Sequence[int] | None = None,
    samples_per_epoch: Callable[[int], int] | None = None,
    max_steps: int | None = None,
) -> LengthSchedule:
    """Return a schedule with one stage for each length.

    Args:
        lengths: of the stages, in order.
        bases_per_step: targets of an optimiser step, a multiple of every length.
        epochs: how long a stage is; needs `samples_per_epoch`, the samples of an epoch at a length.
        steps: the same in steps, or a list: those at each length but the last, which takes the rest.
            One of the two is given, or neither where there is only one length.
        max_steps: the end of the run: the last stage continues up to it, and stages beyond it are left out.
            Without it the run ends with the last stage.

    Raises:
        UserError: naming the numbers: a step that is not a whole number of sequences, a duration that is
            missing or given twice, nothing to do.
    """
    if not lengths or min(lengths) < 1:
        raise UserError(f"lengths of a schedule: must be at least 1 (got {list(lengths)})")
    if epochs is not None and steps is not None:
        raise UserError("a stage lasts a number of epochs or of steps: set one of the two, not both")
    if epochs is None and steps is None and (len(lengths) > 1 or max_steps is None):
        raise UserError("how long does a stage last? Set a number of epochs or of steps")
    each = _steps_of_stages(steps, len(lengths), max_steps)
    numbers = [("epochs", epochs), *(("steps", number) for number in each), ("max_steps", max_steps)]
    for name, number in numbers:
        if number is not None and number <= 0:
            raise UserError(f"the {name} of a length schedule: must be more than 0 (got {number})")
    end, ends = Fraction(0), []
    for length, of_stage in zip(lengths, each, strict=True):
        sequences_per_step(length, bases_per_step)
        if epochs is not None:
            assert samples_per_epoch is not None, "epochs need samples_per_epoch"
            end += Fraction(epochs) * samples_per_epoch(length) * length / bases_per_step
        elif of_stage is not None:
            end += of_stage
        ends.append(round(end))
    if max_steps is not None:
        ends = [min(end, max_steps) for end in ends[:-1]] + [max_steps]
    stages: list[Stage] = []
    for length, end_step in zip(lengths, ends, strict=True):
        first_step = stages[-1].end_step if stages else 0
        if first_step < end_step:
            sequences = sequences_per_step(length, bases_per_step)
            stages.append(Stage(len(stages), length, sequences, first_step, end_step))
    if not stages:
        raise UserError(f"no stage of the length schedule is as long as a step of {bases_per_step:,} bases")
    return LengthSchedule(tuple(stages))


def _steps_of_stages(
    steps: int | Sequence[int] | None, stages: int, max_steps: int | None
) -> list[int | None]:
    """Return the steps of each stage, as `length_schedule` takes them."""
    if steps is None or isinstance(steps, int):
        return [steps] * stages
    if max_steps is None or len(steps) != stages - 1:
        raise UserError(_wrong_list(stages - 1, len(steps), max_steps))
    return [*steps, max_steps]


def _wrong_list(wanted: int, found: int, max_steps: int | None) -> str:
    return (
        f"a list of steps has a number for each of the {wanted} lengths before the last, which continues "
        f"to max_steps; there are {found} numbers, and max_steps is {max_steps}"
    )


def sequence_schedule(
    lengths: Sequence[int], *, sequences: int, steps: int | Sequence[int], max_steps: int
) -> LengthSchedule:
    """Plan stages with the same number of sequences per step at every length (Gu and Dao, E.3.4).

    Args:
        lengths: of the stages, in order.
        sequences: samples of a step.
        steps: of a stage, or a list: those at each length but the last, which continues to `max_steps`.
        max_steps: the end of the run; stages beyond it are left out.

    Raises:
        UserError: a list of another length, or a number in it below 1.
    """
    each = [steps] * (len(lengths) - 1) if isinstance(steps, int) else list(steps)
    if len(each) != len(lengths) - 1:
        raise UserError(_wrong_list(len(lengths) - 1, len(each), max_steps))
    if min(each, default=1) < 1:
        raise UserError(f"the steps of a length schedule: must be more than 0 (got {min(each)})")
    ends = [*(min(end, max_steps) for end in accumulate(each)), max_steps]
    firsts = [0, *ends[:-1]]
    spans = [span for span in zip(lengths, firsts, ends, strict=True) if span[1] < span[2]]
    return LengthSchedule(
        tuple(
            Stage(number, length, sequences, first, end) for number, (length, first, end) in enumerate(spans)
        )
    )


def sequences_per_step(length: int, bases_per_step: int) -> int:
    """Count the samples of a step.

    Raises:
        UserError: the one number does not divide the other.
    """
    if bases_per_step % length:
        raise UserError(
            f"a step of {bases_per_step:,} bases is not a whole number of sequences of {length:,} bases"
        )
    return bases_per_step // length


def rows_at_a_time(batch_size: int, longest: int, length: int, chunk: int | None) -> int:
    """Count the samples of a micro-batch that fill the positions of `batch_size` longest ones (or chunks).

    Args:
        batch_size: of the longest samples.
        longest: of the run.
        length: of the samples to count.
        chunk: positions of a sample that are read at a time; None: all.
    """
    reach = longest if chunk is None else min(chunk, longest)
    return max(1, batch_size * reach // min(length, reach))


class MicroBatches(NamedTuple):
    """How one process reads its part of a step."""

    batch_size: int  # sequences at a time
    accumulate: int  # times before the optimiser steps


def micro_batches(sequences: int, length: int, *, world_size: int, bases_at_a_time: int) -> MicroBatches:
    """Return the micro-batches of one process: as many sequences at a time as memory allows, the same in all.

    Args:
        sequences: samples of a step, on all processes together (`Stage.sequences`).
        length: targets of a sample.
        world_size: number of processes.
        bases_at_a_time: the most targets that one process can hold.

    Raises:
        UserError: two numbers that do not divide, or less memory than one sequence takes.
    """
    if bases_at_a_time < length:
        raise UserError(f"a process that holds {bases_at_a_time:,} bases at a time cannot read {length:,}")
    if sequences % world_size:
        raise UserError(
            f"the {sequences:,} sequences of {length:,} bases of a step cannot be shared by {world_size} "
            "processes"
        )
    per_process = sequences // world_size
    batch_size = min(per_process, bases_at_a_time // length)
    if per_process % batch_size:
        raise UserError(
            f"the {per_process:,} sequences of {length:,} bases that a process reads a step cannot be read "
            f"{batch_size:,} at a time"
        )
    return MicroBatches(batch_size, per_process // batch_size)
