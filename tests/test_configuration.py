"""How far the whole configuration of a run travels through the package: from the command line to a `Run`."""

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

import dnamamba
from dnamamba import finetune, pretrain
from dnamamba.training.recipe import Recipe
from dnamamba.training.run import Run
from tests.conftest import TINY
from tests.finetuning.conftest import SHORT, write_table

PACKAGE = Path(dnamamba.__file__).parent


def is_whole(value: Any) -> bool:
    """Whether a value is all of a run's configuration: composed, or typed."""
    if isinstance(value, DictConfig):
        return value._get_parent() is None and {"data", "train", "trainer"} <= {*value}
    return isinstance(value, Recipe)


def given(frame: FrameType) -> list[Any]:
    """What a function was called with, what lies in lists and maps of it, and what it closes over."""
    code = frame.f_code
    number = code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & 4) + bool(code.co_flags & 8)
    values = [frame.f_locals.get(name) for name in (*code.co_varnames[:number], *code.co_freevars)]
    inner = [value if isinstance(value, tuple | list) else [] for value in values]
    inner += [[*value.values()] if type(value) is dict else [] for value in values]
    return [*values, *(each for found in inner for each in found)]


def walk(main: Callable[[], None]) -> dict[str, set[str]]:
    """Run a command; return the functions of the package that were given the whole configuration, by file.

    A function is a file and a qualified name. It is given the configuration (the composed one, or a
    `Pretraining` or `Finetuning`) as an argument, also `self`, within a list or a map, or as a closure; the
    body of a comprehension counts as its function. Of a run only the building is followed: the `Run`
    is checked to hold no configuration, and `Run.execute` is given nothing else.
    """
    found: dict[str, set[str]] = {}

    def called(frame: FrameType, event: str, _: object) -> None:
        file = frame.f_code.co_filename
        if event == "call" and file.startswith(str(PACKAGE)) and any(map(is_whole, given(frame))):
            name = frame.f_code.co_qualname.partition(".<locals>.<")[0]
            found.setdefault(str(Path(file).relative_to(PACKAGE)), set()).add(name)

    before = sys.getprofile(), signal.getsignal(signal.SIGUSR1)
    sys.setprofile(called)
    try:
        main()
    finally:
        sys.setprofile(before[0])
        signal.signal(signal.SIGUSR1, before[1])
        HydraConfig.instance().cfg = None
    return found


@pytest.fixture
def overrides(genome: Path, tmp_path: Path) -> dict[str, tuple[str, ...]]:
    """A tiny run of each command."""
    fasta = (f"data.fasta={genome}", "data.valid=[two]", "data.test=[three]")
    table = write_table(tmp_path / "t.csv")
    return {"pretrain": (*TINY, *fasta), "finetune": (*SHORT, f"data.table={table}")}


@pytest.mark.parametrize("command", [pretrain, finetune], ids=["pretrain", "finetune"])
def test_whole_configuration_visits_few_functions(
    command: Any, overrides: dict[str, tuple[str, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = command.__name__.rpartition(".")[2]
    monkeypatch.setattr(sys, "argv", [name, *overrides[name], f"hydra.run.dir={tmp_path / 'run'}"])
    runs: list[Run] = []
    monkeypatch.setattr(Run, "execute", lambda run: runs.append(run))
    found = walk(command.main)
    assert not any(map(is_whole, vars(runs[0]).values()))
    visited = {f"{file}:{function}" for file, functions in found.items() for function in functions}
    assert {f"{name}.py:run", f"commands/{name}.py:settings_of"} <= visited
    assert len(visited) <= 20, sorted(visited)
    assert len(found) <= 8, sorted(found)
