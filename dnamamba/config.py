"""Where the configuration files lie, and how a command reads them and reports a user's mistake."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, cast

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dnamamba.errors import UserError

T = TypeVar("T")
INTERRUPTED = 130


class Interrupted(Exception):  # noqa: N818
    """The user or the scheduler stopped a run; the message says how to go on."""


def conf_dir() -> Path:
    """The folder of configuration files: the wheel's own, else the checkout's.

    Raises:
        UserError: neither is there.
    """
    package = Path(__file__).resolve().parent
    for folder in (package / "conf", package.parent / "conf"):
        if (folder / "pretrain.yaml").is_file():
            return folder
    raise UserError(f"no configuration files beside {package}: install dnamamba again")


def output_dir() -> Path:
    """The running command's output folder, absolute."""
    return Path(HydraConfig.get().runtime.output_dir).absolute()


def typed(group: DictConfig, schema: type[T], name: str) -> T:
    """The group `name` of a configuration as an instance of its dataclass.

    Raises:
        UserError: a key is unknown or missing, or its value is of another type; the message names the key.
    """
    try:
        values = OmegaConf.to_container(group, resolve=True)
        merged = OmegaConf.merge(OmegaConf.structured(schema), values)
        return cast(T, OmegaConf.to_object(merged))
    except OmegaConfBaseException as error:
        key = f"{name}.{error.full_key}" if error.full_key else name
        raise UserError(f"{key}: {str(error).partition(chr(10))[0]}") from error


def command(run: Callable[[DictConfig], None], name: str) -> None:
    """Compose `name`.yaml with the command line's overrides and call `run`; the body of every entry point.

    A user's mistake ends in one line on standard error and status 1, an interrupt in status 130; neither
    leaves an empty run folder behind. Any other exception is ours and keeps its traceback.
    """

    def job(cfg: DictConfig) -> None:
        try:
            run(cfg)
        except (UserError, OmegaConfBaseException) as error:
            _remove_if_unused(output_dir())
            _fail(_one_line(error))

    job.__module__, job.__name__ = run.__module__, name
    # Hydra would print its own, longer report of a mistake; this makes it hand the exception to us instead.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=name)(job)()
    except (UserError, HydraException, OmegaConfBaseException) as error:
        _fail(_one_line(error))
    except Interrupted as stop:
        print(f"dnamamba: {stop}", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except KeyboardInterrupt:
        print("dnamamba: interrupted before the first step; nothing was written", file=sys.stderr)
        sys.exit(INTERRUPTED)


def _fail(message: str) -> None:
    print(f"dnamamba: error: {message}", file=sys.stderr)
    sys.exit(1)


def _one_line(error: Exception) -> str:
    """Hydra spreads a mistake over several lines and an exception's causes; keep what the user can act on."""
    parts = [str(error)]
    if error.__cause__ is not None:
        parts.append(str(error.__cause__))
    text = " ".join(" ".join(parts).split())
    for tail in ("Config search path:", "full_key:", "object_type="):
        text = text.partition(tail)[0]
    return text.strip()


def _remove_if_unused(folder: Path) -> None:
    """Remove a run folder that holds nothing but Hydra's copy of the configuration."""
    if folder.is_dir() and {entry.name for entry in folder.iterdir()} <= {".hydra"}:
        shutil.rmtree(folder)
