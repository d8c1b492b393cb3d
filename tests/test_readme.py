"""The README says what an installation brings, and what every extra is for."""

import gzip
import re
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import dnamamba
from dnamamba.commands.entry import COMMANDS
from dnamamba.objectives.task_config import TaskConfig

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = sorted(set(PROJECT["optional-dependencies"]) - {"dev"})


@pytest.mark.parametrize("extra", EXTRAS)
def test_every_extra_is_in_the_table(extra: str) -> None:
    table = README[README.index("| extra | for |") :].partition("\n\n")[0]
    assert f"`{extra}`" in table


def test_cuda_packages_and_a_cpu_only_installation_are_explained() -> None:
    section = README[README.index("## What pip installs") :].partition("\n## ")[0]
    for words in ("CUDA packages", "triton", "CPU build first", "Compute Platform: CPU"):
        assert words in section


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_shown_once_at_least(command: str) -> None:
    assert re.search(rf"dnamamba[ .]{command}\b", README)


@pytest.mark.parametrize("page", ["heads", "reliability", "kernel-log", "great_apes", "annotation", "signal"])
def test_pages_of_docs_are_linked(page: str) -> None:
    assert f"(docs/{page}.md)" in README


def test_forms_and_flags_of_a_command_have_an_example() -> None:
    for words in (
        "`python -m dnamamba.X` and `dnamamba X` are the same command",
        "ckpt_path=RUN",
        "--config-dir my_conf experiment=mine",
        "+callbacks.mine._target_=",
        "data.table=my.csv",
        "data.bed=g.gff3",
    ):
        assert words in README
    assert README.index("`RUN` is the folder") < README.index("model=RUN")
    assert all("-c constraints.txt" in line for line in README.splitlines() if "pip install -" in line)


def test_extras_named_in_messages_exist() -> None:
    named = set()
    for path in (ROOT / "dnamamba").rglob("*.py"):
        named |= set(re.findall(r"dnamamba\[(\w+)\]", path.read_text("utf-8")))
        named |= set(re.findall(r'need\("\w+", "(\w+)"', path.read_text("utf-8")))
    assert named <= set(EXTRAS)
    assert {"sweep", "tracks"} <= named


def test_training_from_python_runs_as_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The block as it is written, on a small genome, with two steps instead of many and no baselines."""
    (block,) = (one for one in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "Finetuning" in one)
    rng = np.random.default_rng(0)
    with gzip.open(tmp_path / "my.fa.gz", "wt") as file:
        file.write(">one\n" + "".join(rng.choice(list("ACGT"), 30_000)) + "\n")
    rows = [f"{''.join(rng.choice(list('ACGT'), 20))},{'ab'[i % 2]}\n" for i in range(60)]
    (tmp_path / "my.csv").write_text("sequence,label\n" + "".join(rows))
    monkeypatch.chdir(tmp_path)
    quick = {"max_steps": 2, "global_batch_size": 2, "validate_every": 2, "log_every": 1}
    genome, pretraining, finetuning = dnamamba.GenomeConfig, dnamamba.Pretraining, dnamamba.Finetuning

    def pretrained(folder: str, data: dnamamba.GenomeConfig, train: dnamamba.TrainConfig) -> object:
        small = replace(data, batch_size=2, markov_orders=[0])
        return pretraining(folder, small, train=replace(train, **quick), quiet=True)

    def tuned(folder: str, data: dnamamba.LabelledConfig, model: object) -> object:
        task, train = TaskConfig(baselines=False, bootstrap=10), dnamamba.FinetuneTrainConfig(**quick)
        return finetuning(folder, replace(data, batch_size=2), model, task=task, train=train, quiet=True)

    monkeypatch.setattr(dnamamba, "Pretraining", pretrained)
    monkeypatch.setattr(dnamamba, "Finetuning", tuned)
    names = {"dnamamba": dnamamba}
    exec(block, names)  # the README of this repository
    assert names["mine"] == genome(fasta="my.fa.gz", max_length=1024)
    assert [step for step, _ in names["losses"]] == [0, 1]
    assert names["result"].results["verdict"].startswith("test: the model needs ")
    assert set(names["tuned"].results["test"]["accuracy"]) == {"value", "low", "high"}
