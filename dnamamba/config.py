"""Where the configuration files lie, and how a command reads them and reports a user's mistake."""

import io
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, cast

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import InterpolationToMissingValueError, OmegaConfBaseException
from yaml import YAMLError

from dnamamba.commands.entry import overrides_first
from dnamamba.commands.overrides import LISTS, MAPS, NAMES, as_typed, empty, map_keys
from dnamamba.commands.yaml_files import check_folders
from dnamamba.errors import Interrupted, Terminated, UserError, signal_of
from dnamamba.escaping import bounded, printable

T = TypeVar("T")
STARTED = time.time() - 1  # file systems round times


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
    """The group `name` of a configuration as an instance of its dataclass; `name` is "" for all of it.

    Raises:
        UserError: a key is unknown or missing, or its value is of another type; the message names the key.
    """
    try:
        values: Any = OmegaConf.create(OmegaConf.to_container(group, resolve=True))
        for missing in sorted(OmegaConf.missing_keys(values)):
            raise UserError(f"{'.'.join(part for part in (name, missing) if part)} must be given")
        for key in values:
            _check_names(values, str(key), ".".join(part for part in (name, str(key)) if part))
        merged = OmegaConf.merge(OmegaConf.structured(schema), values)
        return cast(T, OmegaConf.to_object(merged))
    except OmegaConfBaseException as error:
        where = ".".join(part for part in (name, error.full_key) if part)
        raise UserError(f"{where}: {str(error).partition(chr(10))[0]}") from error


def _check_names(values: DictConfig, key: str, name: str) -> None:
    """Refuse a number, a date or a truth value where names belong: YAML has rewritten what was typed.

    A single name for a list becomes a list of it.

    Raises:
        UserError: the message says to quote.
    """
    if name not in NAMES:
        return
    value = values[key]
    if name in LISTS and isinstance(value, str | int | float):
        values[key] = value = OmegaConf.create([value])
    found = list(value) if isinstance(value, DictConfig | ListConfig) else [value]
    for each in found:
        if isinstance(each, bool | int | float):
            raise UserError(
                f"{name}: names are text, and YAML has made {each!r} of one (got {type(each).__name__}); "
                f'write names that look like numbers or yes and no in quotes, as in "{each}"'
            )


def _check_no_empty(node: DictConfig | ListConfig, before: str = "") -> None:
    """Refuse an empty text anywhere: a variable of the shell that was not set must not mean a default.

    Raises:
        UserError: naming the key.
    """
    for key in range(len(node)) if isinstance(node, ListConfig) else list(node):
        name = f"{before}[{key}]" if isinstance(node, ListConfig) else f"{before}.{key}".lstrip(".")
        # Loggers and callbacks are another package's, to whom an empty text may mean something.
        if OmegaConf.is_missing(node, key) or name in ("logger", "callbacks"):
            continue
        try:
            value = node[key]
        except InterpolationToMissingValueError:
            continue
        if isinstance(value, DictConfig | ListConfig):
            _check_no_empty(value, name)
        elif isinstance(value, str) and not value.strip():
            raise UserError(empty(name))


def _text_keys(cfg: DictConfig) -> None:
    """Name the entries of maps as the command line did: Hydra's grammar has no text for keys.

    Raises:
        UserError: two entries have one name to Hydra.
    """
    for override in HydraConfig.get().overrides.task:
        key, _, value = override.partition("=")
        key = key.lstrip("+")
        if key not in MAPS or not value.strip().startswith("{"):
            continue
        group = OmegaConf.select(cfg, key)
        names = map_keys(value)
        if not isinstance(group, DictConfig) or len(names) != len(group):
            raise UserError(f"{key}: two of {', '.join(names)} are one key; give each its own name")
        entries = zip(names, OmegaConf.to_container(group, resolve=False).values(), strict=True)  # type: ignore[union-attr]
        OmegaConf.update(cfg, key, dict(entries), merge=False)


def command(run: Callable[[DictConfig], None], name: str, folder: str = ".") -> None:
    """Compose `name`.yaml with the command line's overrides and call `run`; the body of every entry point.

    `folder` is where in conf/ the file lies. What uses a trained model lies in conf/inference: there
    `model=<path>` is a value, where beside conf/model/ it would be a choice among its files.

    A user's mistake ends in one line on standard error and status 1, a signal in 128 and its number: 130
    for Ctrl-C, 143 for SIGTERM. Neither leaves an empty run folder behind. In a sweep a mistake ends its job
    and a signal ends them all. Any other exception is ours and keeps its traceback.
    """
    failed = started = False

    def job(cfg: DictConfig) -> None:
        nonlocal failed, started
        started = True
        # By which SLURM says that the time is nearly up. A training asks for it as long as it can be stopped;
        # what only has a picture left to draw, or never asks, would die of it.
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        _end_whole()
        try:
            _check_no_empty(cfg)
            _text_keys(cfg)
            run(cfg)
        except (UserError, OmegaConfBaseException) as error:
            remove_if_unused(output_dir())
            _report(_one_line(error, folder))
            failed = True
        except (Interrupted, KeyboardInterrupt) as stop:
            # On the way out: the same signal, late or passed on by a launcher, must not change the status.
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
                signal.signal(number, signal.SIG_IGN)
            remove_if_unused(output_dir())
            if process_number() > 0:
                # Launchers kill the others where one has failed, and process 0 may still have a job to queue.
                sys.exit(0)
            message = str(stop) or "interrupted before the first step"
            print(f"dnamamba: {printable(message)}", file=sys.stderr)
            sys.exit(stop.status if isinstance(stop, Interrupted) else 128 + signal_of(stop))

    job.__module__, job.__name__ = run.__module__, name
    # Hydra would print its own, longer report of a mistake; this makes it hand the exception to us instead.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    if not (sys.stdout.isatty() or sys.stderr.isatty()):
        # Jupyter asks for colours, which Rich takes for a terminal: a bar can't be redrawn there.
        os.environ.setdefault("TTY_COMPATIBLE", "0")
    for stream in (sys.stdout, sys.stderr):
        # A name that the user's language can't write must not end a run whose work is done.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        _share_one_folder()
        check_folders(sys.argv)
        sys.argv[1:] = as_typed(overrides_first(sys.argv[1:]), model_is_a_path=folder != ".")
        hydra.main(version_base="1.3", config_path=str(conf_dir() / folder), config_name=name)(job)()
    except (UserError, HydraException, OmegaConfBaseException, OSError, YAMLError) as error:
        _report(_one_line(error, folder))
        failed = True
    except RecursionError:
        if started:
            raise
        _report("the command line is nested too deeply")
        failed = True
    except ValueError as error:  # Hydra's own, of a group that is null or a number
        if started:
            raise
        _report(_one_line(error, folder))
        failed = True
    except KeyboardInterrupt as stop:
        print("dnamamba: interrupted before the first step", file=sys.stderr)
        sys.exit(128 + signal_of(stop))
    if failed:
        sys.exit(1)
    _leave_the_other_processes()


def _end_whole() -> None:
    """Raise where SIGTERM or a closed terminal would end this process with files half written.

    What a shell or a scheduler lets it ignore, such as nohup's SIGHUP, stays ignored; a process that this one
    forks ends as it would without.
    """
    main = os.getpid()

    def stop(number: int, frame: object) -> None:
        if os.getpid() != main:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        for each in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(each, signal.SIG_IGN)
        raise Terminated(signal.Signals(number))

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, stop)


def _leave_the_other_processes() -> None:
    """End torch's threads between processes while Python lives: one that holds a tensor can abort it."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def process_number() -> int:
    """Which process of a run this is, started by Lightning, torchrun or SLURM; 0 where it is alone."""
    for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"):
        if name in os.environ:
            return int(os.environ[name])
    return 0


def processes_started() -> int:
    """How many processes of a run torchrun, srun or Lightning started; 1 where this one is alone."""
    return max(int(os.environ.get(name, 1)) for name in ("WORLD_SIZE", "SLURM_STEP_NUM_TASKS"))


def _share_one_folder() -> None:
    """Where processes are started from outside, each would name its folder by its own clock.

    Raises:
        UserError: the command line names no folder for all of them.
    """
    several = processes_started()
    if several == 1 or any(argument.startswith("hydra.run.dir=") for argument in sys.argv):
        if process_number() and "hydra.output_subdir=null" not in sys.argv:
            sys.argv.append("hydra.output_subdir=null")
        return
    raise UserError(
        f"{several} processes of one run need one folder: set hydra.run.dir=<folder>, and ckpt_path=auto to "
        "go on in it when the job is queued again"
    )


def _report(message: str) -> None:
    print(f"dnamamba: error: {bounded(printable(message))}", file=sys.stderr)


def _one_line(error: Exception, folder: str) -> str:
    """Hydra spreads a mistake over several lines and an exception's causes; keep what the user can act on."""
    text = str(error)
    if isinstance(error, HydraException) and error.__cause__ is not None:
        text = f"{text} {error.__cause__}"
    text = re.sub(r"To append to your config use \S+", "", " ".join(text.split()))
    text = re.sub(r" *Available options in 'experiment':.*", _experiments(folder), text)
    for tail in ("Config search path:", "full_key:", "object_type="):
        text = text.partition(tail)[0]
    return " ".join(text.split()) + _did_you_mean(error)


def _did_you_mean(error: Exception) -> str:
    """The key that an override may have meant, of the configuration as it was composed until then."""
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
    return f"; did you mean {close[0]}?" if close else ""


def _initials(name: str, keys: Iterable[str]) -> list[str]:
    """Keys that `name` abbreviates by first letters, such as lr of learning_rate."""
    return [key for key in keys if "".join(word[0] for word in key.split("_") if word) == name]


def _keys(group: Any, before: str = "") -> Iterator[str]:
    """Every key of a configuration, with those of its groups."""
    if isinstance(group, dict):
        for key, value in group.items():
            yield f"{before}{key}"
            yield from _keys(value, f"{before}{key}.")


def _experiments(folder: str) -> str:
    """The experiments that come with the package; Hydra itself lists those of one level."""
    home = conf_dir() / folder / "experiment"
    names = sorted(path.relative_to(home).with_suffix("").as_posix() for path in home.rglob("*.yaml"))
    return f"; there are {', '.join(names)}"


def remove_if_unused(folder: Path) -> None:
    """Remove a run folder that holds nothing but this process's copies of the configuration.

    A command without run folders has the working directory for one: never that. What was there before is
    somebody's, whatever it is called.
    """
    if folder == Path.cwd() or not folder.is_dir():
        return
    entries = [*folder.iterdir()]
    ours = {entry.name for entry in entries} <= {".hydra", "config.yaml"}
    if ours and all(entry.stat().st_mtime >= STARTED for entry in entries):
        shutil.rmtree(folder)
