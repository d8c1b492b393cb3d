"""Everything that plugs in, from a user's folder of modules; no file of the package is touched.

The modules lie in `tests/user_modules` and are copied into a temporary folder, as a user would have them.
Commands run through their own `main`, in this process where nothing speaks against it.
"""

import importlib
import json
import shutil
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from dnamamba import UserError, load
from dnamamba.commands.benchmark import BenchmarkConfig, benchmark
from dnamamba.datasets.base import DataConfig
from dnamamba.inference.embedding import embed
from dnamamba.models import DecoderConfig, ModelConfig, SequenceModel
from dnamamba.objectives.task_config import TaskConfig
from dnamamba.planning.plan import plan_run
from dnamamba.planning.show import gib
from dnamamba.reports.figures import read_metrics
from dnamamba.training import baselines
from dnamamba.training.config import FinetuneTrainConfig, TrainConfig
from dnamamba.training.finetuning import Finetuning
from dnamamba.training.pretraining import Pretraining
from tests import processes

MODULES = Path(__file__).parent / "user_modules"
DATA = "_target_: user_table.TableData\npath: table.csv\nlength: 24\nbatch_size: 2\nalphabet: dna\n"
# For --config-dir. Beside a group `model`, `model=run` would be a choice among its files.
CONF = {
    "conf/model/gru.yaml": "family: user_gru.GruConfig\nchannels: 8\nalphabet: dna\n",
    "conf/data/table.yaml": DATA,
    "tuning/data/table.yaml": DATA,
}
TRAIN = (
    "train.max_steps=6",
    "train.global_batch_size=4",
    "train.validate_every=3",
    "train.checkpoint_every=1",
    "train.log_every=1",
)
PRETRAIN = ("--config-dir=conf", "model=gru", "data=table", "++objective._target_=user_spans.Spans", *TRAIN)
PLUGINS = "plugins=[user_gru,user_head]"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The user's folder, with modules, configuration and data: the working directory, on Python's path."""
    for module in MODULES.glob("*.py"):
        shutil.copy(module, tmp_path)
    for name, text in CONF.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    rng = np.random.default_rng(0)
    kinds = [("AAT", "at"), ("GGC", "gc")] * 20
    rows = [("".join(rng.choice(list(letters), 24)), label) for letters, label in kinds]
    (tmp_path / "table.csv").write_text("".join(f"{sequence},{label}\n" for sequence, label in rows))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    _forget()
    yield tmp_path
    _forget()


def _forget() -> None:
    for module in MODULES.glob("*.py"):
        sys.modules.pop(module.stem, None)


def command(name: str, *arguments: str) -> int:
    """The status of `python -m dnamamba.<name>` with these arguments, in this process."""
    before = sys.argv, signal.getsignal(signal.SIGUSR1)
    sys.argv = [name, *arguments]
    try:
        importlib.import_module(f"dnamamba.{name}").main()
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        sys.argv = before[0]
        signal.signal(signal.SIGUSR1, before[1])
    return 0


def user(module: str, name: str) -> Any:
    """A class of the user's."""
    return getattr(importlib.import_module(module), name)


def data() -> DataConfig:
    return user("user_table", "TableConfig")("table.csv", 24, batch_size=2)


def shape() -> ModelConfig:
    return user("user_gru", "GruConfig")(channels=8)


def pretraining(folder: str = "run", **settings: Any) -> Pretraining:
    """The run of `PRETRAIN`, from Python."""
    train = TrainConfig(max_steps=6, global_batch_size=4, validate_every=3, checkpoint_every=1, log_every=1)
    given = {"model": shape(), "train": train, **settings}
    return Pretraining(folder, data(), objective="user_spans.Spans", quiet=True, **given)


def test_unmeasured_backbone_is_planned_without_memory(home: Path) -> None:
    made = plan_run(data(), shape(), TrainConfig(max_steps=6, global_batch_size=4), 1, device="h100")
    assert (made.steps, made.bases, made.memory_gib, made.seconds) == (6, 6 * 4 * 24, None, None)
    assert gib(made.memory_gib) == "not measured"


def test_the_plan_command_says_not_measured(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("plan", *PRETRAIN, "plan.device=h100") == 0
    assert "1 x h100: memory not measured, time not measured" in capsys.readouterr().out


def test_sigterm_and_resume_give_the_uninterrupted_bits(home: Path) -> None:
    """Stopped in a process of its own, resumed by the command line, compared with a run from Python.

    A logger and a callback of the user's, named by import path, see what metrics.csv has.
    """
    stop = (
        "++callbacks.stop._target_=user_callbacks.StopAfter",
        "++callbacks.stop.steps=2",
        "hydra.run.dir=run",
    )
    stopped = processes.run("dnamamba.pretrain", *PRETRAIN, *stop, folder=home)
    assert stopped.returncode == 128 + signal.SIGTERM, stopped.stderr
    assert "stopped by SIGTERM after step 2; resume with ckpt_path=" in stopped.stderr
    own = (
        "++callbacks.count._target_=user_callbacks.Counting",
        "++logger.note={_target_: user_callbacks.Noting, only: train/loss}",
    )
    assert command("pretrain", *PRETRAIN, *own, "ckpt_path=run", "hydra.run.dir=run") == 0
    assert user("user_callbacks", "Counting").seen == [3, 4, 5, 6]
    written = read_metrics(home / "run" / "metrics.csv")
    losses = [(row["step"], row["train/loss"]) for row in written if "train/loss" in row]
    assert [step for step, _ in losses] == [0, 1, 2, 3, 4, 5]
    assert user("user_callbacks", "Noting").rows == losses
    whole = pretraining("whole").run()
    assert whole is not None
    resumed = load_file(home / "run" / "model" / "model.safetensors")
    assert whole.model.state_dict().keys() == resumed.keys()
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, resumed[name]), name
    results = json.loads((home / "run" / "results.json").read_text())
    assert results["bits_per_masked_base"] == whole.results["bits_per_masked_base"]


def test_another_span_is_another_run(home: Path) -> None:
    pretraining(train=TrainConfig(max_steps=1, global_batch_size=4)).run()
    with pytest.raises(UserError, match=r"objective\.span: 4, 6"):
        pretraining("other", objective_options={"span": 6}, ckpt_path="run").run()
    assert not (home / "other").exists()


def test_span_masking_learns_what_its_neighbours_tell(home: Path) -> None:
    """In repeats of ACGT a masked base is certain; without a reading of both sides it costs two bits."""
    (home / "table.csv").write_text("".join(f"{('ACGT' * 7)[i % 4 :][:24]},{i % 2}\n" for i in range(40)))
    train = TrainConfig(max_steps=100, global_batch_size=8, learning_rate=2e-2, validate_every=100)
    result = pretraining(train=train, model=user("user_gru", "GruConfig")(channels=32)).run()
    assert result is not None
    assert result.results["bits_per_masked_base"]["test"] < 0.5


@pytest.mark.parametrize("what", ["plan", "pretrain", "finetune"])
def test_too_long_sequences_are_refused_before_first_step(home: Path, what: str) -> None:
    (home / "table.csv").write_text(f"{'A' * 49},a\n{'C' * 49},b\n" * 5)
    long = replace(data(), length=49, alphabet="dna")  # type: ignore[type-var]
    ask = {
        "plan": lambda: plan_run(long, shape(), TrainConfig(), 1),
        "pretrain": Pretraining("run", long, shape(), "user_spans.Spans", quiet=True).run,
        "finetune": Finetuning("run", long, shape(), quiet=True).run,
    }
    with pytest.raises(UserError, match=r"user_gru.GruConfig reads at most 48 bases \(got 49\)"):
        ask[what]()
    assert not (home / "run").exists()


def test_causal_objective_refuses_other_model_in_one_line(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    left = [argument for argument in PRETRAIN if "objective" not in argument]
    assert command("pretrain", *left, "hydra.run.dir=run") == 1
    assert capsys.readouterr().err == (
        "dnamamba: error: objective=NextBase needs a model that is causal, and the family "
        "user_gru.GruConfig is not\n"
    )
    assert not (home / "run").exists()


@pytest.mark.parametrize("strand", ["forward", "both"])
@pytest.mark.parametrize("padding", ["right", "left"])
def test_bidirectional_model_does_not_read_the_padding(home: Path, padding: str, strand: str) -> None:
    """A batch of rows of several lengths, answers and gradients, compared with each row alone."""
    torch.manual_seed(0)
    question = DecoderConfig("classification", ("a", "b"), "mean", strand=strand)
    model = SequenceModel(shape(), question).double().eval()
    rows = [torch.randint(0, 4, (length,)) for length in (12, 5, 16, 5, 12)]
    tokens = torch.full((len(rows), 16), 5)
    for filled, row in zip(tokens, rows, strict=True):
        place = slice(16 - len(row), 16) if padding == "left" else slice(len(row))
        filled[place] = row
    batch = model(tokens, torch.tensor([len(row) for row in rows]), padding=padding)
    alone = torch.cat([model(row[None]) for row in rows])
    torch.testing.assert_close(batch, alone, rtol=1e-6, atol=1e-7)  # the answers are float32
    parameters = [model.head.weight, *model.backbone.parameters()]
    ours, theirs = (torch.autograd.grad(answer[:, 0].sum(), parameters) for answer in (batch, alone))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_pretrained_model_is_tuned_embedded_refused_and_benchmarked(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of 24 training sequences: simple models would read them 20,000 times, for most of a minute.
    monkeypatch.setattr(baselines, "MOST_SEQUENCES", 48)
    counting = user("user_callbacks", "Counting")
    pretrained = pretraining(callbacks=[counting()]).run()
    assert pretrained is not None
    assert counting.seen == [1, 2, 3, 4, 5, 6]
    assert [row["step"] for row in pretrained.history if "train/loss" in row] == [0, 1, 2, 3, 4, 5]

    # Fine-tuned, by the command line and from Python: the same numbers.
    tune = ("--config-dir=tuning", "data=table", f"++{PLUGINS}", "model=run", *TRAIN, "hydra.run.dir=tuned")
    assert command("finetune", *tune, "train.learning_rate=1e-2", "task.bootstrap=50") == 0
    by_command = json.loads((home / "tuned" / "metrics.json").read_text())
    tuned = Finetuning(
        "again",
        data(),
        pretrained.model,
        task=TaskConfig(bootstrap=50),
        train=FinetuneTrainConfig(
            max_steps=6, global_batch_size=4, learning_rate=1e-2, validate_every=3, checkpoint_every=1
        ),
        quiet=True,
    ).run()
    assert tuned is not None
    assert by_command["task"] == "user_head.Focal"
    assert tuned.results["test"] == by_command["test"]

    # Embedded: the mean of the backbone's hidden states, and asked for a window where that is too long.
    (home / "short.fa").write_text(">a\nACGTACGTACGT\n>b\nGGGGCCCCAAAATTTT\n")
    (home / "long.fa").write_text(f">c\n{'ACGT' * 13}\n")
    _forget()
    assert command("embed", "model=run", "fasta=short.fa", "out=none.npz") == 1
    assert "if you trust user_gru, add plugins=[user_gru]" in capsys.readouterr().err
    assert command("embed", "model=run", "fasta=short.fa", "out=short.npz", f"++{PLUGINS}") == 0
    values = np.load(home / "short.npz")
    model = load(home / "run")
    with torch.no_grad():
        hidden = model.backbone(torch.tensor([[0, 1, 2, 3] * 3])).hidden[0].double().mean(0).numpy()
    found = values[next(name for name in values.files if values[name].shape == (2, 8))]
    np.testing.assert_allclose(found[0], hidden, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(embed(model, "short.fa"), found)
    capsys.readouterr()
    assert command("embed", "model=run", "fasta=long.fa", "out=long.npz", f"++{PLUGINS}") == 1
    said = capsys.readouterr().err
    assert "the family user_gru.GruConfig reads at most 48 bases at once (got 52)" in said
    assert "cut it with window=48 or less" in said
    assert said.count("\n") == 1
    assert command("embed", "model=run", "fasta=long.fa", "out=long.npz", "window=26", f"++{PLUGINS}") == 0

    # Refused by what reads from left to right.
    capsys.readouterr()
    assert command("generate", "model=run", "prompt=ACGT", "length=4", "out=new.fa", f"++{PLUGINS}") == 1
    assert capsys.readouterr().err == (
        "dnamamba: error: generate needs a model that is causal and recurrent, and the family "
        "user_gru.GruConfig is not\n"
    )
    assert not (home / "new.fa").exists()

    # Benchmarked.
    settings = {"name": "user_suite.TableSuite", "model": "run", "device": "cpu", "seed": 0}
    results = benchmark(BenchmarkConfig(**settings, plugins=["user_gru", "user_head"]), home / "bench")
    rows = {row["protocol"]: row for row in results["rows"]}
    assert rows["zero_shot"]["value"] == 1.0
    for protocol in ("probe", "finetune"):
        metrics = json.loads((home / "bench" / protocol / "metrics.json").read_text())
        assert rows[protocol]["value"] == metrics["test"]["accuracy"]["value"]
    # A head of one's own that answers with a class has a majority class: test has as many of both.
    assert (rows["baseline"]["model"], rows["baseline"]["value"]) == ("majority class (at)", 0.5)
