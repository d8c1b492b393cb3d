"""How a command reads its configuration, runs, and reports a user's mistake."""

import io
import logging
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import InterpolationToMissingValueError, OmegaConfBaseException
from yaml import YAMLError

from dnamamba.commands.data_sets import settings_class
from dnamamba.commands.entry import overrides_first
from dnamamba.commands.experiments import conf_dir, register_experiments
from dnamamba.commands.help import page
from dnamamba.commands.mistakes import one_line, report
from dnamamba.commands.overrides import MAPS, MAY_BE_EMPTY, MODEL_PATH, as_typed, empty, map_keys
from dnamamba.commands.pages import show
from dnamamba.commands.paths import check_out
from dnamamba.commands.resumed import own_configuration
from dnamamba.commands.schema import typed as typed
from dnamamba.commands.sweep import Headline, note
from dnamamba.commands.sweep import report as report_sweep
from dnamamba.commands.unused import check_unused, last_unit
from dnamamba.commands.yaml_files import check_folders
from dnamamba.errors import STOP_SIGNALS, Interrupted, UserError, signal_of
from dnamamba.escaping import PrintableRecord, printable
from dnamamba.neighbours import arrive, leave
from dnamamba.processes import (
    end_whole,
    leave_the_other_processes,
    may_take,
    process_number,
    processes_started,
    stops_as_such,
)
from dnamamba.reached import forget, stopped_line
from dnamamba.shortages import shortage

STARTED = time.time() - 1  # file systems round times
RUNS = ("pretrain", "finetune", "benchmark")  # commands with a folder of their own
_FOLDERS = ("hydra.run.dir", "hydra.sweep.dir")
TOGETHER = ("embed", "tracks")  # commands that read a sequence by several processes, see `context_size`
MODEL_IS_A_SHAPE = ("pretrain", "plan")  # commands whose `model` is a choice among files of conf/model


def output_dir() -> Path:
    """Return the running command's output folder, absolute."""
    return Path(HydraConfig.get().runtime.output_dir).absolute()


def _check_no_empty(node: DictConfig | ListConfig, before: str = "") -> None:
    """Refuse an empty text, list or map: a variable of the shell that was not set must not mean a default.

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
            if not value and not (name in MAY_BE_EMPTY or _of_others(node, name)):
                raise UserError(empty(name))
            _check_no_empty(value, name)
        elif isinstance(value, str) and not value.strip():
            raise UserError(empty(name))


def _of_others(group: DictConfig | ListConfig, name: str) -> bool:
    """Return whether a key is of a family, objective or data set, which may be a user's own."""
    if name.startswith("data.") and isinstance(group, DictConfig):
        return settings_class(group) is None
    return name.startswith(("model.", "objective."))


def _text_keys(cfg: DictConfig, overrides: Sequence[str]) -> None:
    """Name the entries of maps as the command line did: Hydra's grammar has no text for keys.

    Raises:
        UserError: two entries have one name to Hydra.
    """
    # Of a key that is given twice the last counts.
    given = {override.partition("=")[0].lstrip("+"): override.partition("=")[2] for override in overrides}
    for key, value in given.items():
        if key not in MAPS or not value.strip().startswith("{"):
            continue
        group = OmegaConf.select(cfg, key)
        names = map_keys(value)
        if not isinstance(group, DictConfig) or len(names) != len(group):
            raise UserError(f"{key}: two of {', '.join(names)} are one key; give each its own name")
        entries = zip(names, OmegaConf.to_container(group, resolve=False).values(), strict=True)  # type: ignore[union-attr]
        OmegaConf.update(cfg, key, dict(entries), merge=False)


def composed(name: str, overrides: Sequence[str] = (), conf: Path | None = None) -> DictConfig:
    """Return the configuration of a command, as its command line composes it.

    Args:
        name: of a file at the root of conf/.
        overrides: as typed after the command.
        conf: the root; None for the package's own.

    Raises:
        UserError: an override is empty.
        HydraException: an override can't be used.

    >>> composed("pretrain", ["model=paper_1m4", "data.max_length=1024"]).model.d_model
    128
    """
    register_experiments()
    typed = as_typed(overrides, model_is_a_path=name not in MODEL_IS_A_SHAPE)
    with hydra.initialize_config_dir(str(conf or conf_dir()), version_base="1.3"):
        cfg = hydra.compose(name, typed)
    return settled(cfg, typed)


def settled(cfg: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """Return the same configuration, after what Hydra's grammar has no words for.

    Raises:
        UserError: a value is empty or two entries of a map have one name.
    """
    model = cfg.get("model") if not OmegaConf.is_missing(cfg, "model") else None
    if isinstance(model, DictConfig) and MODEL_PATH in model:
        cfg.model = model[MODEL_PATH]
    _check_no_empty(cfg)
    _text_keys(cfg, overrides)
    last_unit(cfg, overrides)
    return cfg


def command(run: Callable[[DictConfig], Headline | None], name: str) -> None:
    """Compose `name`.yaml with the command line's overrides and call `run`; the body of every entry point.

    What `run` returns goes to Hydra, whose sweepers may choose by it; a sweep ends with a table of it.

    A user's mistake ends in one line on standard error and status 1, a signal in 128 and its number: 130
    for Ctrl-C, 143 for SIGTERM. Neither leaves an empty run folder behind. In a sweep a mistake ends its job
    and a signal ends them all. Any other exception is ours and keeps its traceback.
    """
    if {"--help", "-h"} & set(sys.argv[1:]):
        show(page(name, sys.argv[1:]))
        return
    failed = started = False
    logging.setLogRecordFactory(PrintableRecord)

    def job(cfg: DictConfig) -> float | None:
        nonlocal failed, started
        started = True
        forget()
        # By which SLURM says that the time is nearly up. A training asks for it as long as it can be stopped;
        # what only has a picture left to draw, or never asks, would die of it.
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        end_whole()
        try:
            with stops_as_such():
                overrides = HydraConfig.get().overrides.task
                cfg = own_configuration(settled(cfg, overrides), overrides)
                check_unused(cfg, overrides)
                check_out(cfg)
                found = note(run(cfg))
                remove_if_unused(output_dir())  # of a plan, which Hydra made a folder for
                return found
        except (UserError, OmegaConfBaseException) as error:
            remove_if_unused(output_dir())
            report(one_line(error))
            failed = True
        except (Interrupted, KeyboardInterrupt) as stop:
            # On the way out: the same signal, late or passed on by a launcher, must not change the status.
            for number in STOP_SIGNALS:
                if number != signal.SIGINT and may_take(number):
                    signal.signal(number, signal.SIG_IGN)
            remove_if_unused(output_dir())
            leave()  # the others have stopped too, or are about to
            if process_number() > 0:
                # Launchers kill the others where one has failed, and process 0 may still have a job to queue.
                sys.exit(0)
            message = str(stop) or stopped_line()
            print(f"dnamamba: {printable(message)}", file=sys.stderr)
            sys.exit(stop.status if isinstance(stop, Interrupted) else 128 + signal_of(stop))
        except Exception as error:
            line = shortage(error) or (one_line(error) if isinstance(error, OSError) else None)
            if line is None:
                raise
            remove_if_unused(output_dir())
            report(line)
            failed = True
        return None

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
    if name in RUNS + TOGETHER:
        arrive()
    try:
        if name in RUNS:
            _share_one_folder()
        elif name not in TOGETHER:
            _refuse_several(name)
        check_folders(sys.argv)
        arguments = overrides_first(sys.argv[1:])
        sys.argv[1:] = as_typed(arguments, model_is_a_path=name not in MODEL_IS_A_SHAPE)
        register_experiments()
        with stops_as_such():
            hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=name)(job)()
    except (UserError, HydraException, OmegaConfBaseException, OSError, YAMLError, MemoryError) as error:
        report(shortage(error) or _folder_line(error) or one_line(error))
        failed = True
    except RecursionError:
        if started:
            raise
        report("the command line is nested too deeply")
        failed = True
    except ValueError as error:  # Hydra's own, of a group that is null or a number
        if started and not failed:  # once a job has failed, a sweeper may find nothing to choose from
            raise
        report(one_line(error))
        failed = True
    except KeyboardInterrupt as stop:
        leave()
        print(f"dnamamba: {stopped_line()}", file=sys.stderr)
        sys.exit(128 + signal_of(stop))
    finally:
        report_sweep()
    if failed:
        sys.exit(1)
    leave_the_other_processes()
    leave()


def _folder_line(error: BaseException) -> str | None:
    """Say that the run's folder can't be made, where that is what Hydra failed in; else None."""
    if isinstance(error, OSError) and error.filename is not None:
        for argument in sys.argv[1:]:
            key, _, quoted = argument.partition("=")
            folder = quoted.strip("'")  # as `as_typed` hands it to Hydra
            if key in _FOLDERS and folder and str(error.filename).startswith(os.path.normpath(folder)):
                return f"{key}={folder}: can't be made ({error.strerror}); choose another folder"
    return None


def _share_one_folder() -> None:
    """Require one named folder of processes started from outside: each would name its own by the clock.

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
        "resume in it when the job is queued again"
    )


def _refuse_several(name: str) -> None:
    """Refuse several processes of a command that would each do all of its work.

    Raises:
        UserError: there are several.
    """
    several = processes_started()
    if several > 1:
        raise UserError(
            f"{name}: reads many short sequences, each faster by one process than by several together (got "
            f"{several} processes); start one for each part of the input"
        )


def remove_if_unused(folder: Path) -> None:
    """Remove a run folder that holds nothing but this process's copies of the configuration.

    A command without run folders has the working directory for one: never that. What was there before is
    somebody's, whatever it is called.
    """
    if folder == Path.cwd() or not folder.is_dir():
        return
    entries = [*folder.iterdir()]
    ours = {entry.name for entry in entries} <= {".hydra", "config.yaml"}
    if ours and all(entry.stat().st_mtime >= STARTED for entry in (folder, *entries)):
        shutil.rmtree(folder)
