"""Hydra's composing in a quarter of its time: a file, and what a choice of files gives, is found once.

Only the files of the package and of Hydra itself, which no test changes, are remembered. A search path with
any other folder is composed as ever, and so is what ends in an error. Overrides of values are applied anew
each time. `tests/test_composing.py` compares the two ways.
"""

import copy
from typing import Any

from hydra._internal import config_loader_impl as loading
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig

from dnamamba.commands.experiments import conf_dir, register_experiments

# Hydra's own.
list_of_defaults = loading.create_defaults_list
from_list = ConfigLoaderImpl._compose_config_from_defaults_list
file = ConfigRepository.load_config

CONF = ("file", str(conf_dir()))
_lists: dict[Any, Any] = {}
_configurations: dict[Any, DictConfig] = {}
_files: dict[str, Any] = {}


def quicken() -> None:
    """Change Hydra in this process and its forks, until `slow_down`."""
    register_experiments()
    loading.create_defaults_list = _list_of_defaults
    ConfigLoaderImpl._compose_config_from_defaults_list = _from_list
    ConfigRepository.load_config = _file


def slow_down() -> None:
    """Give Hydra its own functions back."""
    loading.create_defaults_list = list_of_defaults
    ConfigLoaderImpl._compose_config_from_defaults_list = from_list
    ConfigRepository.load_config = file


def _only_ours(repo: Any) -> bool:
    """Return whether a repository reads the package's files and Hydra's alone."""
    paths = {(source.scheme(), source.path) for source in repo.get_sources()}
    return CONF in paths and paths <= {CONF, ("pkg", "hydra.conf"), ("structured", "")}


def _list_of_defaults(
    repo: Any, config_name: str | None, overrides_list: list[Override], **flags: bool
) -> Any:
    def alone(overrides: list[Override]) -> Any:
        return list_of_defaults(repo=repo, config_name=config_name, overrides_list=overrides, **flags)

    if not _only_ours(repo):
        return alone(overrides_list)
    # As Hydra tells them apart: of these the list depends.
    values = [
        override
        for override in overrides_list
        if not override.is_sweep_override()
        and (isinstance(override.value(), dict) or not repo.group_exists(override.key_or_group))
    ]
    choices = [override for override in overrides_list if not any(override is value for value in values)]
    key = (config_name, *(override.input_line for override in choices), *flags.items())
    if key not in _lists:
        _lists[key] = alone(choices)
    found = copy.copy(_lists[key])
    found.config_overrides = values
    return found


def _from_list(self: ConfigLoaderImpl, defaults: list[Any], repo: Any) -> DictConfig:
    if not _only_ours(repo):
        return from_list(self, defaults, repo)
    key = repr(defaults)
    if key not in _configurations:
        _configurations[key] = from_list(self, defaults, repo)
    return copy.deepcopy(_configurations[key])


def _file(self: ConfigRepository, config_path: str) -> Any:
    if not _only_ours(self):
        return file(self, config_path)
    if config_path not in _files:
        _files[config_path] = file(self, config_path)
    return copy.deepcopy(_files[config_path])
