"""A mistake in one line: Hydra spreads one over several lines and an exception's causes."""

import re
import sys
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import Any

from hydra.errors import HydraException, OverrideParseException
from omegaconf import OmegaConf

from dnamamba.commands.experiments import experiment_names
from dnamamba.escaping import bounded, printable

_PLAIN: dict[str, Any] = {
    r"Could not override '([^']+)'\. Key '[^']+' is not in struct": r"\1: no such setting",
    r"Could not append to config\. An item is already at '([^']+)'.*": r"\1: is there already; leave out +",
    r"Could not delete from config\. '([^']+)' does not exist\.": r"~\1: no such setting; leave it out",
    r"In '\w+': Could not find 'experiment/([^']*)'": r"experiment=\1: no such experiment",
    r"In '\w+': Could not find '(\w+)/([^']*)' Available options in '\w+': ([^:]*)$": (
        lambda found: f"{found[1]}={found[2]}: no such choice; choose {', '.join(found[3].split())}"
    ),
}
"""Hydra's ways to put it, and ours."""


def report(message: str) -> None:
    """Print an error to standard error."""
    print(f"dnamamba: error: {bounded(printable(message))}", file=sys.stderr)


def one_line(error: Exception) -> str:
    """Join Hydra's message, spread over lines and causes, to the one line that the user can act on."""
    text = str(error)
    if isinstance(error, OSError) and error.filename is not None and error.strerror is not None:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, OverrideParseException):
        key, sign, value = error.override.partition("=")
        if sign and "'" not in value:
            return f"{key}: Hydra's grammar does not take {value!r} as text; write \"{key}='{value}'\""
    if isinstance(error, HydraException) and error.__cause__ is not None:
        text = f"{text} {error.__cause__}"
    text = re.sub(r"To append to your config use \S+", "", " ".join(text.split()))
    text = re.sub(r" *Available options in 'experiment':.*", _experiments(), text)
    for tail in ("Config search path:", "full_key:", "object_type="):
        text = text.partition(tail)[0]
    text = " ".join(text.split())
    for pattern, plain in _PLAIN.items():
        text = re.sub(pattern, plain, text)
    if "hydra/sweeper/optuna" in text:
        text += "; pip install 'dnamamba[sweep]'"
    return " ".join(text.split()) + _did_you_mean(error)


def _did_you_mean(error: Exception) -> str:
    """Return the key that an override may have meant, of the configuration as it was composed until then."""
    unknown = re.match(r"Could not override '([^']+)'", str(error))
    group = getattr(error.__cause__, "parent_node", None)
    if unknown is None or group is None:
        return ""
    keys = list(_keys(OmegaConf.to_container(group._get_root())))
    home, _, last = unknown[1].rpartition(".")
    # Of its own group first: with train.lr a key of train is meant, however close another group's name is.
    inside = {key.rpartition(".")[2]: key for key in keys if home and key.rpartition(".")[0] == home}
    near = [*get_close_matches(last, inside, n=1, cutoff=0.6), *_initials(last, inside)]
    if near:
        return f"; did you mean {inside[near[0]]}?"
    if inside:
        return f"; {home} has {', '.join(inside)}"
    close = get_close_matches(unknown[1], keys, n=1, cutoff=0.75)
    return f"; did you mean {close[0]}?" if close else "; --help lists the settings"


def _initials(name: str, keys: Iterable[str]) -> list[str]:
    """Return keys that `name` abbreviates by first letters, such as lr of learning_rate."""
    return [key for key in keys if "".join(word[0] for word in key.split("_") if word) == name]


def _keys(group: Any, before: str = "") -> Iterator[str]:
    """Yield every key of a configuration, with those of its groups."""
    if isinstance(group, dict):
        for key, value in group.items():
            yield f"{before}{key}"
            yield from _keys(value, f"{before}{key}.")


def _experiments() -> str:
    """Return the experiments of the package; Hydra itself lists those of one folder."""
    return f"; there are {', '.join(experiment_names())}"
