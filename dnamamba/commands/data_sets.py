"""Which settings of the data sets are files, maps and lists of names: by their types, without torch."""

import re
from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import dnamamba.datasets
from dnamamba.datasets.settings import DataConfig

GENOME = "dnamamba.datasets.genome.GenomeData"
# Where data sets lay until version 0.1; configurations of then name them so.
MOVED = {
    "dnamamba.tasks.labelled_data.LabelledData": "dnamamba.datasets.labelled.LabelledData",
    "dnamamba.tasks.species_data.SpeciesData": "dnamamba.datasets.species.SpeciesData",
}
# `GenomeData` has the settings of `GenomeConfig`, in the same folder.
_OURS = re.compile(r"dnamamba\.datasets\.\w+(?:\.data)?\.(\w+)Data")


def target_of(group: Any) -> str:
    """Return the import path of the data set that a `data` group asks for."""
    given = str(group.get("_target_", GENOME))
    return MOVED.get(given, given)


def settings_class(group: Any) -> type[DataConfig] | None:
    """Return the typed settings of a `data` group; None for a data set of another package.

    >>> settings_class({"_target_": "dnamamba.datasets.tracks.data.TracksData"}).paths
    ('fasta', 'tracks')
    """
    ours = _OURS.fullmatch(target_of(group))
    return None if ours is None else _settings().get(ours[1])


def keys_of_files() -> frozenset[str]:
    """Return the keys that name files in some data set."""
    return frozenset(f"data.{key}" for settings in _settings().values() for key in settings.paths)


def keys_of_maps() -> frozenset[str]:
    """Return the keys under which some data set takes files by name, `{name: file}`."""
    return frozenset(_keys("dict[")) & keys_of_files()


def keys_of_names() -> frozenset[str]:
    """Return the keys under which some data set takes a list of names."""
    return frozenset(_keys("list[str]"))


def _keys(kind: str) -> Iterator[str]:
    """Yield the keys of the fields whose type begins so."""
    for settings in _settings().values():
        for field in fields(settings):  # type: ignore[arg-type]
            if str(field.type).startswith(kind):
                yield f"data.{field.name}"


@cache
def _settings() -> dict[str, type[DataConfig]]:
    """Import the settings of the package's data sets, by their names: `Genome`."""
    found = {}
    for path in sorted(Path(dnamamba.datasets.__path__[0]).glob("*/config.py")):
        module = import_module(f"dnamamba.datasets.{path.parent.name}.config")
        for name, value in vars(module).items():
            if (
                isinstance(value, type)
                and issubclass(value, DataConfig)
                and value.__module__ == module.__name__
            ):
                found[name.removesuffix("Config")] = value
    return found
