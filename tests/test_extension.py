"""Everything that plugs in, from a user's folder of modules; no file of the package is touched.

The modules are texts here, written into a temporary folder, as a user would have them. Commands run through
their own `main`, in this process where nothing speaks against it.
"""

import importlib
import json
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file

from dnamamba import UserError, load
from dnamamba.commands.benchmark import benchmark
from dnamamba.datasets.base import DataConfig
from dnamamba.inference.embedding import embed
from dnamamba.models import DecoderConfig, ModelConfig, SequenceModel
from dnamamba.objectives.task_config import TaskConfig
from dnamamba.planning.plan import gib, plan_run
from dnamamba.training import baselines
from dnamamba.training.config import FinetuneTrainConfig, TrainConfig
from dnamamba.training.finetuning import Finetuning
from dnamamba.training.pretraining import Pretraining
from tests import processes

GRU = '''
"""A bidirectional GRU."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import nn

from dnamamba.models.base import Backbone, BackboneOutput, ModelConfig


@dataclass(frozen=True)
class GruConfig(ModelConfig):
    family = "user_gru.GruConfig"

    channels: int
    layers: int = 1
    alphabet: str = "dna"
    vocab_size: int = 8

    width = property(lambda self: self.channels)
    depth = property(lambda self: self.layers)

    def build(self, backend="auto"):
        return Gru(self)


class Gru(Backbone):
    causal = recurrent = False
    max_length = 48

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.padded_vocab_size, config.channels)
        shape = {"input_size": config.channels, "hidden_size": config.channels // 2}
        grus = (nn.GRU(**shape, batch_first=True, bidirectional=True) for _ in range(config.layers))
        self.layers = nn.ModuleList(grus)

    def forward(self, tokens, state=None, *, blocks=None):
        hidden = self.embedding(tokens.int())
        for layer in self.blocks()[:blocks]:
            hidden = hidden + layer(hidden)[0]
        return BackboneOutput(hidden, None)

    def unembed(self, hidden):
        return F.linear(hidden, self.embedding.weight)

    def blocks(self):
        return list(self.layers)
'''

SPANS = '''
"""Predict a masked span; where it lies is a function of the sample's number alone."""

import math

import torch
import torch.nn.functional as F

from dnamamba.data.alphabet import get_alphabet
from dnamamba.objectives.base import Meter, Objective


class Spans(Objective):
    def __init__(self, config, span=4):
        super().__init__()
        self.span, self.mask_id = span, config.vocab_size - 1
        scored = torch.from_numpy(get_alphabet(config.alphabet).scored.copy())
        self.register_buffer("scored", scored, persistent=False)

    def masked(self, batch):
        length = batch["tokens"].shape[1]
        start = batch["index"] * 2654435761 % (length - self.span + 1)
        place = torch.arange(length, device=start.device) - start[:, None]
        return (place >= 0) & (place < self.span) & self.scored[batch["tokens"].int()]

    def loss_sum(self, model, batch):
        masked = self.masked(batch)
        logits = model(batch["tokens"].masked_fill(masked, self.mask_id)).logits[masked]
        return F.cross_entropy(logits.float(), batch["tokens"][masked].long(), reduction="sum")

    def number_of_targets(self, batch):
        return self.masked(batch).sum()

    def meter(self):
        return SpanMeter(self)

    def unchanged(self):
        return {"span": self.span}


class SpanMeter(Meter):
    headline = "bits_per_masked_base"

    def __init__(self, objective):
        super().__init__()
        self.objective = (objective,)
        self.reset()

    def update(self, model, batch):
        self.nats += self.objective[0].loss_sum(model, batch).double()
        self.targets += self.objective[0].number_of_targets(batch)

    def compute(self):
        return {self.headline: self.nats / self.targets / math.log(2)}

    def reset(self):
        self.nats, self.targets = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.int64)
'''

TABLE = '''
"""Sequences of one length in a CSV of two columns, for pretraining and fine-tuning."""

import csv
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import IterableDataset

from dnamamba.data.alphabet import get_alphabet
from dnamamba.data.stateless import permuted, random_bits
from dnamamba.data.steps import worker_steps
from dnamamba.datasets.base import DataConfig, DataModule
from dnamamba.datasets.labelled.config import one_stage
from dnamamba.errors import UserError
from dnamamba.models import DecoderConfig


@dataclass(frozen=True)
class TableConfig(DataConfig):
    path: str
    length: int
    batch_size: int = 4
    alphabet: str | None = None
    num_workers: int = 0

    @property
    def bases_at_a_time(self):
        return self.batch_size * self.length

    def planned(self, *, global_batch_size, max_steps, world_size, training_segments):
        return one_stage(self.length, global_batch_size, max_steps)


class Steps(IterableDataset):
    def __init__(self, data, start):
        self.data, self.start = data, start

    def __iter__(self):
        return (self.data.training_batch(step) for step in worker_steps(self.start))


class TableData(DataModule):
    config_class = TableConfig
    label = "the table"
    summary = "a table of sequences"

    def __init__(self, config, seed, *, global_batch_size, max_steps, world_size):
        super().__init__(
            config, seed, global_batch_size=global_batch_size, max_steps=max_steps, world_size=world_size
        )
        self.settings, self.seed, self.share = config, seed, global_batch_size // world_size
        self.alphabet = get_alphabet(config.alphabet)
        with open(config.path, newline="") as file:
            rows = list(csv.reader(file))
        for number, row in enumerate(rows, start=1):
            if len(row) != 2 or len(row[0]) != config.length:
                raise UserError(f"{config.path}, row {number}: needs {config.length} letters and a label")
        self.tokens = torch.from_numpy(np.stack([self.alphabet.encode(row[0]) for row in rows]))
        self.names_of_labels = sorted({row[1] for row in rows})
        self.values = torch.tensor([self.names_of_labels.index(row[1]) for row in rows])
        place = np.arange(len(rows)) % 5
        self.split = {"train": np.flatnonzero(place < 3), "valid": np.flatnonzero(place == 3)}
        self.split["test"] = np.flatnonzero(place == 4)
        self.schedule = one_stage(config.length, global_batch_size, max_steps)

    @property
    def identity(self):
        digest = hashlib.sha256(Path(self.settings.path).read_bytes()).hexdigest()
        return {"records": len(self.tokens), "bases": self.tokens.numel(), "split": digest}

    @property
    def train_counts(self):
        return torch.bincount(self.values[self.split["train"]]).tolist(), len(self.split["train"])

    def decoder(self, mode):
        return DecoderConfig("user_head.Focal", tuple(self.names_of_labels), mode)

    def describe(self, step, index):
        return [f"sample_{number}" for number in index.tolist()]

    def micro_batch(self, batch):
        return self.settings.batch_size

    def training_batch(self, step):
        rank, world_size, _ = self.place()
        first = (step * world_size + rank) * self.share
        sample, number = np.arange(first, first + self.share), len(self.split["train"])
        rows = permuted(sample % number, number, random_bits(self.seed, 0, sample // number))
        return self.batch(self.split["train"][rows], sample)

    def batch(self, rows, index):
        return {"tokens": self.tokens[rows], "labels": self.values[rows], "index": torch.from_numpy(index)}

    def train_dataloader(self):
        return self.loader(Steps(self, self.place()[2]), self.settings.num_workers)

    def val_dataloader(self):
        return self.held_out("valid")

    def held_out_loaders(self):
        return ((split, self.held_out(split)) for split in ("valid", "test"))

    def held_out(self, split):
        rank, world_size, _ = self.place()
        rows = self.split[split][rank::world_size]
        size = self.settings.batch_size
        parts = [rows[start : start + size] for start in range(0, len(rows), size)]
        return self.loader([self.batch(part, part) for part in parts], 0)


TableConfig.module = TableData
'''

HEAD = '''
"""Classes learnt by the focal loss (Lin et al. 2017), known by Matthews correlation."""

from dnamamba.heads.classification import Classification


class Focal(Classification):
    headline = "mcc"

    def loss(self, logits, labels, weights, smoothing):
        nats = super().loss(logits, labels, weights, smoothing)
        return (1 - (-nats).exp()) ** 2 * nats
'''

SUITE = '''
"""The table as a benchmark."""

import torch
from user_table import TableConfig

from dnamamba.suite import Row, Suite
from dnamamba.training.config import FinetuneTrainConfig


class TableSuite(Suite):
    name = "table"
    metric = "accuracy"
    protocols = ("zero_shot", "probe", "finetune")
    needs = ()
    bootstrap = 50
    train = FinetuneTrainConfig(max_steps=4, global_batch_size=4, validate_every=4, checkpoint_every=4)

    def data(self):
        return TableConfig("table.csv", 24, batch_size=4)

    def zero_shot(self, model, seed):
        tokens = torch.zeros(1, 24, dtype=torch.uint8)
        finite = bool(torch.isfinite(model(tokens).logits).all())
        return Row("zero_shot", "", self.metric, float(finite), 0.0, 1.0, 1)
'''

CALLBACKS = '''
"""Lightning's hooks, the user's own."""

import os
import signal

import lightning


class StopAfter(lightning.Callback):
    def __init__(self, steps):
        self.steps = steps

    def on_train_batch_start(self, trainer, module, batch, index):
        if trainer.global_step == self.steps - 1:
            os.kill(os.getpid(), signal.SIGTERM)


class Counting(lightning.Callback):
    seen = []

    def on_train_batch_end(self, trainer, module, outputs, batch, index):
        self.seen.append(trainer.global_step)
'''

MODULES = {
    "user_gru": GRU,
    "user_spans": SPANS,
    "user_table": TABLE,
    "user_head": HEAD,
    "user_suite": SUITE,
    "user_callbacks": CALLBACKS,
}
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
    for name, text in MODULES.items():
        (tmp_path / f"{name}.py").write_text(text)
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
    for name in MODULES:
        sys.modules.pop(name, None)


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
    """Stopped in a process of its own, resumed by the command line, compared with a run from Python."""
    stop = (
        "++callbacks.stop._target_=user_callbacks.StopAfter",
        "++callbacks.stop.steps=2",
        "hydra.run.dir=run",
    )
    stopped = processes.run("dnamamba.pretrain", *PRETRAIN, *stop, folder=home)
    assert stopped.returncode == 128 + signal.SIGTERM, stopped.stderr
    assert "stopped by SIGTERM after step 2; resume with ckpt_path=" in stopped.stderr
    assert command("pretrain", *PRETRAIN, "ckpt_path=run", "hydra.run.dir=run") == 0
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
    results = benchmark(OmegaConf.create({**settings, "plugins": ["user_gru", "user_head"]}), home / "bench")
    rows = {row["protocol"]: row for row in results["rows"]}
    assert rows["zero_shot"]["value"] == 1.0
    for protocol in ("probe", "finetune"):
        metrics = json.loads((home / "bench" / protocol / "metrics.json").read_text())
        assert rows[protocol]["value"] == metrics["test"]["accuracy"]["value"]
    # A head of one's own that answers with a class has a majority class: test has as many of both.
    assert (rows["baseline"]["model"], rows["baseline"]["value"]) == ("majority class (at)", 0.5)
