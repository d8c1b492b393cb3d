"""A group of a configuration as its dataclass, or one line on what is wrong with it."""

import re
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, cast

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

from dnamamba.commands.overrides import LISTS, NAMES
from dnamamba.errors import LARGEST, UserError

T = TypeVar("T")

_OTHER_TYPE = re.compile(r"Value ('.*') of type '\w+' could not be converted to (\w+)", re.DOTALL)
_TYPES = {"Integer": "a whole number", "Float": "a number", "Boolean": "true or false"}

INSTEAD = {
    "trainer.accumulate_grad_batches": "set train.global_batch_size, the sequences of a step: gradients are "
    "accumulated over micro-batches of data.batch_size",
    "trainer.max_steps": "set train.max_steps",
    "trainer.max_epochs": "set train.max_steps",
    "trainer.gradient_clip_val": "set train.gradient_clip",
    "trainer.val_check_interval": "set train.validate_every",
    "trainer.log_every_n_steps": "set train.log_every",
    "trainer.num_processes": "set trainer.devices",
    "trainer.gpus": "set trainer.devices",
}
"""Where Lightning's settings of other names are set here."""


def typed(group: DictConfig, schema: type[T], name: str) -> T:
    """Make an instance of a dataclass from a group of a configuration.

    Args:
        group: the configuration of the group.
        schema: its dataclass.
        name: of the group, for messages.

    Raises:
        UserError: a key is unknown or missing, or its value is of another type; the message names the key.
    """
    try:
        values: Any = OmegaConf.create(OmegaConf.to_container(group, resolve=True))
        keys = sorted(OmegaConf.missing_keys(values))
        missing = [f"{name}.{key}" if name else key for key in keys]
        if missing:
            raise UserError(f"{', '.join(missing)}: must be given")
        for key in values:
            where = ".".join(part for part in (name, str(key)) if part)
            _check_names(values, str(key), where)
            _check_sizes(values[key], where)
        merged = OmegaConf.merge(OmegaConf.structured(schema), values)
        return cast(T, OmegaConf.to_object(merged))
    except UserError as error:
        inner = str(error).partition(".")[0]
        if name and isinstance(group.get(inner), DictConfig):  # of a group within this one
            raise UserError(f"{name}.{error}") from None
        raise
    except ConfigKeyError as error:
        where = ".".join(part for part in (name, error.full_key) if part)
        inside = where.rpartition(".")[0]
        found: Any = error.object_type
        known = ", ".join(field.name for field in fields(found)) if is_dataclass(found) else ""
        advice = f"{inside} has {known}" if inside else f"there are {known}"
        advice = INSTEAD.get(where) or (advice if known else "leave it out")
        raise UserError(f"{where}: no such setting; {advice}") from error
    except OmegaConfBaseException as error:
        _check_shapes(values, schema, name)
        where = ".".join(part for part in (name, error.full_key) if part)
        text = str(error).partition(chr(10))[0]
        other = _OTHER_TYPE.fullmatch(text)
        if other is not None and other[2] in _TYPES:
            text = f"expected {_TYPES[other[2]]} (got {other[1]})"
        raise UserError(f"{where}: {text}") from error


def _check_shapes(values: DictConfig, schema: type, name: str) -> None:
    """Refuse a list where names with values belong, and the reverse: OmegaConf's own error names no key.

    Raises:
        UserError: naming the key.
    """
    wanted = OmegaConf.structured(schema)
    for key in map(str, values):
        nodes: list[Any] = [node._get_node(key) for node in (wanted, values)] if key in wanted else []
        where = ".".join(part for part in (name, key) if part)
        shapes = [type(node) for node in nodes]
        if set(shapes) == {DictConfig, ListConfig}:
            shape = "{name: value}" if shapes[0] is DictConfig else "a list, [one, two]"
            raise UserError(f"{where}: expected {shape} (got {OmegaConf.to_container(values)[key]})")  # type: ignore[index,call-overload]
        inner = nodes and nodes[0]._metadata.object_type
        if shapes == [DictConfig, DictConfig] and is_dataclass(inner):
            _check_shapes(nodes[1], cast(type, inner), where)


def _check_sizes(value: Any, name: str) -> None:
    """Refuse whole numbers that no array, count or clock can be of.

    Raises:
        UserError: naming the key.
    """
    if isinstance(value, DictConfig):
        for key, each in value.items():
            _check_sizes(each, f"{name}.{key!s}")
    elif isinstance(value, ListConfig):
        for each in value:
            _check_sizes(each, name)
    elif isinstance(value, int) and abs(value) > LARGEST and not name.endswith("seed"):
        size = "" if value > 0 else "in size "
        raise UserError(f"{name}: must be at most {LARGEST:,} {size}(got {value})")


def _check_names(values: DictConfig, key: str, name: str) -> None:
    """Refuse a number, a date or a truth value where names belong: YAML has rewritten what was typed.

    A single name for a list becomes a list of it.

    Raises:
        UserError: the message says to quote.
    """
    value = values[key]
    if name not in NAMES:
        for inner in map(str, value) if isinstance(value, DictConfig) else ():
            _check_names(value, inner, f"{name}.{inner}")
        return
    if name in LISTS and isinstance(value, str | int | float):
        values[key] = value = OmegaConf.create([value])
    found = list(value) if isinstance(value, DictConfig | ListConfig) else [value]
    for each in found:
        if isinstance(each, bool | int | float) or (each is None and isinstance(value, ListConfig)):
            raise UserError(
                f"{name}: names are text, and YAML has made {each!r} of one (got {type(each).__name__}); "
                f'write names that look like numbers or yes and no in quotes, as in "{each}"'
            )
