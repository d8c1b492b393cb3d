"""The settings of a data set, which also say which of them are files: read without torch.

The data set itself is in `dnamamba.datasets.base`.
"""

import dataclasses
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any, ClassVar

from dnamamba.data.length_schedule import LengthSchedule, sequence_schedule
from dnamamba.errors import UserError, missing


def refuse_unused(config: Any, keys: Sequence[str], why: str) -> None:
    """Refuse settings that differ from their defaults where they decide nothing.

    Args:
        config: a dataclass, the `data` group.
        keys: of it.
        why: they decide nothing, to go on after "has no effect".

    Raises:
        UserError: naming the key.
    """
    defaults = {field.name: field.default for field in dataclasses.fields(config)}
    for key in keys:
        if getattr(config, key) != defaults[key]:
            raise UserError(f"data.{key}: has no effect {why} (got {getattr(config, key)}); leave it out")


class DataConfig:
    """The `data` group. A subclass is a frozen dataclass with `alphabet` among its fields.

    Attributes:
        free: fields that may differ between a run and the one it resumes: what decides no step, and what
            `DataModule.identity` covers.
        paths: fields that name files or folders, one by one, in a list or in a map: what is given is looked
            for before torch is loaded.
        module: the `DataModule` that it builds, set by `data.py` in the folder of its own file.
    """

    free: ClassVar[tuple[str, ...]] = ("num_workers",)
    paths: ClassVar[tuple[str, ...]] = ()
    module: ClassVar[Any]

    alphabet: str | None

    @property
    def bases_at_a_time(self) -> int:
        """The most bases that a process reads at a time.

        Raises:
            UserError: the settings say too little of the sequences' length.
        """
        raise missing(self, "bases_at_a_time")

    def planned(
        self, *, global_batch_size: int, max_steps: int | None, world_size: int, training_segments: int
    ) -> LengthSchedule:
        """Return the stages of a run, from the settings and at most an index or an interval file.

        Args:
            global_batch_size: sequences of the longest stage that a step reads.
            max_steps: optimiser steps; None ends the run with its last stage.
            world_size: number of processes.
            training_segments: of an interval file that is not there yet.

        Raises:
            UserError: numbers that do not divide, or a length that is not known without the data.
        """
        raise missing(self, "planned")

    def build(self, seed: int, *, global_batch_size: int, max_steps: int | None, world_size: int) -> Any:
        """Open the data: return its `DataModule`.

        Args:
            seed: of the order of samples.
            global_batch_size: windows or sequences per step, over all processes.
            max_steps: of the run; None: to the end of the last stage.
            world_size: number of processes.
        """
        return _module_of(self)(
            self, seed, global_batch_size=global_batch_size, max_steps=max_steps, world_size=world_size
        )


def _module_of(config: DataConfig) -> Any:
    """Return the `DataModule` of some settings: that of their class, or of the class that it extends.

    A class whose `module` is not set has it set by the file `data.py` next to it, imported here only.
    """
    for kind in type(config).__mro__:
        home = kind.__module__.rpartition(".")[0]
        if "module" not in vars(kind) and home and find_spec(f"{home}.data") is not None:
            import_module(f"{home}.data")
        if "module" in vars(kind):
            return vars(kind)["module"]
    raise missing(config, "module")


def check_shares(global_batch_size: int, world_size: int) -> None:
    """Check that every process can read as many sequences of a step as the others.

    Raises:
        UserError: naming the setting.
    """
    if global_batch_size % world_size:
        raise UserError(
            f"train.global_batch_size={global_batch_size} is not a multiple of {world_size} device(s)"
        )


def filled(config: Any, alphabet: str) -> Any:
    """Return the same settings with the model's alphabet where none was given.

    Raises:
        UserError: a text among them is empty; a path would then mean the working directory, or a default. Or
            a list is a text, whose letters would be names, or has what is not a text.
    """
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        # Of held-out records an empty list says that there are none.
        nothing = value in ([], {}) and field.default is None and field.name not in ("train", "valid", "test")
        if nothing or (isinstance(value, str) and not value.strip()):
            raise UserError(f"data.{field.name}: is empty; give a value or leave the key out")
        check_list(f"data.{field.name}", str(field.type), value)
    return dataclasses.replace(config, alphabet=config.alphabet or alphabet)


def check_list(key: str, kind: str, value: Any) -> None:
    """Check that a list is one, and a list of names one of texts.

    Args:
        key: of the setting.
        kind: its type, such as `list[str] | None`.
        value: given.

    Raises:
        UserError: it is anything else.
    """
    if value is None or not kind.startswith("list["):
        return
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise UserError(f"{key}: must be a list (got {value!r}); put it into one")
    bad = [one for one in value if not isinstance(one, str)] if kind.startswith("list[str]") else []
    if bad:
        raise UserError(f"{key}: must be a list of names (got {bad[0]!r}); write {str(bad[0])!r}")


def longest(config: Any) -> int | None:
    """Return the bases of the longest window of a data set's settings; None if only the data tell."""
    length = getattr(config, "max_length", None)
    return length if isinstance(length, int) else None


def check_at_least(config: Any, **bounds: int) -> None:
    """Check numbers among the settings of a data set.

    Raises:
        UserError: one is below its bound, naming the setting.
    """
    for key, least in bounds.items():
        if getattr(config, key) < least:
            raise UserError(f"data.{key}: must be at least {least} (got {getattr(config, key)})")


def endless_stage(
    length: int, sequences: int, max_steps: int | None, world_size: int, endless: str
) -> LengthSchedule:
    """Return the one stage of a run whose samples never end.

    Args:
        length: of a sample.
        sequences: per step.
        max_steps: of the run.
        world_size: number of processes.
        endless: why only a number of steps ends the run, for the message.

    Raises:
        UserError: there is no number of steps, or the processes can't share the sequences.
    """
    check_shares(sequences, world_size)
    if max_steps is None:
        raise UserError(f"train.max_steps: {endless} (got null); set a number of steps")
    return sequence_schedule([length], sequences=sequences, steps=max_steps, max_steps=max_steps)
