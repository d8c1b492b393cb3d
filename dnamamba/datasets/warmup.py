"""Stages of growing length before `data.max_length`, with the same number of sequences per step."""

from dataclasses import dataclass
from typing import Any

from dnamamba.data.length_schedule import LengthSchedule, doublings, sequence_schedule
from dnamamba.errors import UserError


@dataclass  # OmegaConf cannot fill a frozen one that lies within another
class SequenceWarmup:
    """`data.length_warmup`: stages of growing length before `data.max_length`."""

    first_length: int | None = None
    steps: Any = 1024  # int or a list of them: OmegaConf has no such union

    def check(self, least: int = 1) -> None:
        """Check the numbers.

        Args:
            least: the shortest length there is.

        Raises:
            UserError: naming the key.
        """
        for number in self.steps if isinstance(self.steps, list) else [self.steps]:
            if type(number) is not int or number < 1:
                raise UserError(
                    "data.length_warmup.steps: must be a whole number above 0 or a list of them (got "
                    f"{number!r})"
                )
        if self.first_length is not None and self.first_length < least:
            raise UserError(
                f"data.length_warmup.first_length: must be at least {least} (got {self.first_length})"
            )

    def stages(self, max_length: int, *, sequences: int, max_steps: int) -> LengthSchedule:
        """Return the stages of a run.

        Args:
            max_length: of the last stage.
            sequences: of a step.
            max_steps: of the run.

        Raises:
            UserError: numbers that do not go together.
        """
        lengths: tuple[int, ...] = (max_length,)
        if self.first_length is not None:
            try:
                lengths = doublings(self.first_length, max_length)
            except UserError as error:
                raise UserError(f"data.max_length, data.length_warmup.first_length: {error}") from error
        steps = [] if self.first_length is None else self.steps
        try:
            return sequence_schedule(lengths, sequences=sequences, steps=steps, max_steps=max_steps)
        except UserError as error:
            raise UserError(f"data.length_warmup, train.max_steps: {error}") from error
