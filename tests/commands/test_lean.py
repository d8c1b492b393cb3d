"""What Lightning's start leaves out: never where code of the user's own may want it."""

import sys
from importlib import import_module
from typing import Any

import pytest
from lightning_utilities.core import imports

from dnamamba.commands import lean

OURS = {"data": {"_target_": "dnamamba.datasets.genome.GenomeData"}, "model": {"family": "mamba"}}
LOGGER = {"csv": {"_target_": "lightning.pytorch.loggers.CSVLogger"}}


def answers() -> tuple[bool, bool]:
    """Whether `lightning_utilities` tells of SciPy and transformers that they are installed."""
    text = imports.RequirementCache("transformers>=4.4.0")
    return imports.package_available("scipy"), bool(text)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bool, bool]]:
    """What torchmetrics is told while it is imported, each time."""
    monkeypatch.delitem(sys.modules, "torchmetrics")
    heard: list[tuple[bool, bool]] = []

    def importing(name: str) -> Any:
        if name != "torchmetrics":
            return import_module(name)
        return heard.append(answers())

    monkeypatch.setattr(lean, "import_module", importing)
    return heard


@pytest.mark.parametrize("more", [{}, {"plugins": []}, {"logger": LOGGER}, {"data": {"fasta": "a.fa"}}])
def test_unused_packages_are_hidden_without_users_code(
    told: list[tuple[bool, bool]], more: dict[str, Any]
) -> None:
    there = answers()
    lean.load_torchmetrics({**OURS, **more})
    assert told == [(False, False)]
    assert answers() == there == (True, True)


@pytest.mark.parametrize(
    "more",
    [
        {"plugins": ["mine"]},
        {"callbacks": {"mine": {"_target_": "mine.Callback"}}},
        {"model": {"family": "mine.GruConfig"}},
        {"decoder": {"kind": "mine.Counts"}},
        {"trainer": {"parts": [{"_target_": "mine.Part"}]}},
        {"name": "mine.Suite"},
    ],
)
def test_nothing_is_hidden_from_users_code(told: list[tuple[bool, bool]], more: dict[str, Any]) -> None:
    lean.load_torchmetrics({**OURS, **more})
    assert told == []


def test_torchmetrics_is_imported_as_ever_where_nothing_can_be_hidden(
    told: list[tuple[bool, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    version = imports._version
    monkeypatch.setattr(imports, "_version", None)
    with lean._hidden(lean.UNUSED):
        assert imports.package_available("scipy")
        monkeypatch.setattr(imports, "_version", version)
        told.append(answers())
    assert told == [(True, True)]
