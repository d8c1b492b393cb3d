"""A killed command, run again, leaves the files of one that was not killed, byte for byte."""

import json
from pathlib import Path

import pytest

from tests import processes
from tests.robustness.killing import COMMANDS

ROOT = Path(__file__).parents[2]


def counts_of(number: int, seed: int, folder: Path, *commands: str) -> dict[str, dict]:
    given = (str(number), str(seed), str(folder), *commands)
    found = processes.run("tests.robustness.killing", *given, folder=ROOT, timeout=3600)
    assert found.returncode == 0, found.stderr
    counts = json.loads(found.stdout)
    assert [each["kills"] for each in counts.values()] == [number] * len(commands)
    return counts


def test_killed_commands_run_again_leave_the_same_files(tmp_path: Path) -> None:
    counts = counts_of(1, 0, tmp_path, "pretrain", "predict", "embed")
    assert [each["failures"] for each in counts.values()] == [[]] * 3


@pytest.mark.robustness
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("command", COMMANDS)
def test_two_hundred_kills_leave_the_same_files(command: str, tmp_path: Path) -> None:
    counts = counts_of(200, 1, tmp_path, command)[command]
    assert counts["failures"] == []
    assert counts["before"] > 50, "too few of the kills left anything to do"
