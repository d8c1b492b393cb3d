"""What seqleak is given, and what is kept of its verdict; the package itself is a stand-in."""

import csv
import importlib.machinery
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from dnamamba import LabelledConfig, UserError
from dnamamba.datasets.base import filled
from dnamamba.suite import linter

VERDICT = {"status": "FAIL", "fail": ["overlap.exact"], "warn": [], "summary": "one", "more": 1}
ROWS = [("ACGT", "a", "train"), ("GGG", "b", "train"), ("TTT", "a", "valid"), ("TC", "b", "valid")]
ROWS += [("AAA", "a", "test"), ("CN", "b", "test")]


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What a stand-in for seqleak is called with: the table's rows and the settings."""
    calls: list[Any] = []

    def load_task(data: list[str]) -> str:
        with Path(data[0]).open() as file:
            calls.append(sorted(tuple(row.values()) for row in csv.DictReader(file)))
        return "task"

    def run_audit(task: str, **settings: Any) -> tuple[dict[str, Any], None]:
        calls.append((task, settings))
        return {"verdict": VERDICT}, None

    package, audit = types.ModuleType("seqleak"), types.ModuleType("seqleak.audit")
    package.__spec__ = importlib.machinery.ModuleSpec("seqleak", None)
    audit.load_task, audit.run_audit = load_task, run_audit  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "seqleak", package)
    monkeypatch.setitem(sys.modules, "seqleak.audit", audit)
    monkeypatch.setattr(linter, "version", lambda name: "0.4.1")
    return calls


def opened(path: Path, **settings: Any) -> Any:
    config = filled(LabelledConfig(table=str(path), **settings), "dna")
    return config.build(0, global_batch_size=2, max_steps=1, world_size=1)


def test_linter_reads_every_sequence_with_its_split(seen: list[Any], tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("sequence,label,split\n" + "".join(f"{','.join(row)}\n" for row in ROWS))
    found = linter.lint(opened(path, padding="left"), 3)
    assert found == {
        "version": "0.4.1",
        **{key: VERDICT[key] for key in ("status", "fail", "warn", "summary")},
    }
    number = {label: str(i) for i, label in enumerate(sorted({label for _, label, _ in ROWS}))}
    assert seen[0] == sorted((s, number[label], split.replace("valid", "dev")) for s, label, split in ROWS)
    assert seen[1] == ("task", {"quiet": True, "homology": "off", "seed": 3})


def test_numbers_are_not_linted(seen: list[Any], tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    text = "".join(f"{row[0]},{i},{row[2]}\n" for i, row in enumerate(ROWS))
    path.write_text(f"sequence,label,split\n{text}")
    with pytest.raises(UserError, match=r"linter=seqleak: reads one class per sequence \(got a regression\)"):
        linter.lint(opened(path, task="regression"), 0)
    assert not seen
