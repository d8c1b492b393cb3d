"""Whole benchmarks: the package's, a user's own, and what is refused."""

import csv
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from dnamamba import LanguageModel, MambaConfig, UserError, embed, load, save_model
from dnamamba.commands.benchmark import BenchmarkConfig, benchmark
from dnamamba.datasets.genome import GenomeConfig
from dnamamba.foreign import write_foreign
from dnamamba.models.caduceus.config import CaduceusConfig
from dnamamba.suite import SUITES, Source, Suite, find_suite, run_benchmark
from dnamamba.suite.intervals import ratio
from dnamamba.suite.yeast_bits import YeastBits
from dnamamba.suite.yeast_coding import YeastCoding
from dnamamba.training.config import FinetuneTrainConfig

pytestmark = pytest.mark.usefixtures("undrawn")
SHORT = FinetuneTrainConfig(
    max_steps=2, global_batch_size=4, validate_every=2, checkpoint_every=2, log_every=1
)
# Train: four `gc`, two `at`; test: one `gc`, three `at`.
TABLE = [("train", "gc")] * 4 + [("train", "at")] * 2 + [("valid", "gc"), ("valid", "at")]
TABLE += [("test", "gc")] + [("test", "at")] * 3
USERS = """
from dnamamba.datasets.labelled import LabelledConfig
from dnamamba.suite import Published, Row, Source, Suite
from dnamamba.training.config import FinetuneTrainConfig


class MySuite(Suite):
    name = "mine"
    metric = "accuracy"
    protocols = ("zero_shot", "probe", "finetune")
    sources = (Source({path!r}, "{sha256}", "https://example.org/t.csv"),)
    published = (Published("k-mers", "probe", 0.75, "Someone et al., 2020"),)
    train = FinetuneTrainConfig(
        max_steps=2, global_batch_size=4, validate_every=2, checkpoint_every=2, log_every=1
    )
    bootstrap = 50

    def data(self):
        return LabelledConfig(table=str(self.sources[0].verified()), batch_size=4)

    def zero_shot(self, model, seed):
        assert not model.training
        return Row("zero_shot", "", self.metric, 0.25, 0.0, 0.5, 4)
"""


class ShortBits(YeastBits):
    bootstrap = 50

    def data(self) -> GenomeConfig:
        return GenomeConfig(max_length=8192, batch_size=8, markov_orders=[0, 1])


class ShortCoding(YeastCoding):
    bootstrap = 50
    linear = False
    train = SHORT


@pytest.fixture(autouse=True)
def few_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare the test split with a part of training: `test_leakage.py` tests the comparison."""
    monkeypatch.setattr("dnamamba.suite.leakage.MOST_TRAINING", 500)


@pytest.fixture
def model() -> LanguageModel:
    torch.manual_seed(0)
    return LanguageModel(MambaConfig(d_model=8, n_layer=1))


@pytest.fixture
def users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's suite, `my_suite.MySuite`, of a table; returns the table's path."""
    rng = np.random.default_rng(0)
    rows = [
        f"s{i},{''.join(rng.choice(list('GC' if label == 'gc' else 'AT'), 24))},{label},{split}\n"
        for i, (split, label) in enumerate(TABLE)
    ]
    table = tmp_path / "t.csv"
    table.write_text("id,sequence,label,split\n" + "".join(rows))
    digest = hashlib.sha256(table.read_bytes()).hexdigest()
    (tmp_path / "my_suite.py").write_text(
        USERS.replace("{path!r}", repr(str(table))).replace("{sha256}", digest)
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "my_suite", raising=False)
    return table


@pytest.mark.drawn
def test_users_suite_runs_by_import_path(
    users: Path, model: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(model, tmp_path / "model")
    settings = {"name": "my_suite.MySuite", "model": str(tmp_path / "model"), "device": "cpu", "seed": 3}
    results = benchmark(BenchmarkConfig(**settings), tmp_path / "run")
    assert json.loads((tmp_path / "run" / "benchmark.json").read_text()) == results
    assert (tmp_path / "run" / "benchmark.png").read_bytes().startswith(b"\x89PNG")
    with (tmp_path / "run" / "benchmark.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    protocols = [row["protocol"] for row in rows]
    assert protocols == ["zero_shot", "probe", "finetune", *3 * ["baseline"], "published probe"]
    assert rows[3]["model"].endswith("-mer logistic")
    assert rows[4]["model"] == "one-hot logistic"
    assert [float(row["value"]) for row in rows[3:5]] == [1.0, 1.0]
    # Training has more `gc`, and one of four test sequences is `gc`.
    assert (rows[5]["model"], float(rows[5]["value"])) == ("majority class (gc)", 0.25)
    assert (float(rows[6]["value"]), rows[6]["note"]) == (0.75, "Someone et al., 2020")
    for row in results["rows"]:
        assert row["low"] <= row["value"] <= row["high"]
        assert row["examples"] == 4
    for row in results["rows"][1:3]:
        metrics = json.loads((tmp_path / "run" / row["protocol"] / "metrics.json").read_text())
        assert row["value"] == metrics["test"]["accuracy"]["value"]
    assert results["leakage"] == {"tested": 4, "trained": 6, "identical": 0, "near": None, "word": 21}
    assert results["rows"][1]["value"] == 1.0  # letters alone tell the two classes apart
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "benchmark.json",
        "benchmark.png",
        "benchmark.tsv",
        "finetune",
        "probe",
        "settings.json",
    ]
    # The vectors that `embed` gives are those of the probe: its head makes of them what it predicted.
    probe = load(tmp_path / "run" / "probe")
    with (tmp_path / "run" / "probe" / "predictions.tsv").open() as file:
        predicted = list(csv.DictReader(file, delimiter="\t"))
    with users.open() as file:
        letters = {row["id"]: row["sequence"] for row in csv.DictReader(file)}
    vectors = embed(probe, [letters[row["id"]] for row in predicted], pooling="head")
    decoder = probe.decoder
    same = embed(
        model,
        [letters[row["id"]] for row in predicted],
        pooling=decoder.mode,
        context=decoder.context,
        strand=decoder.strand,
    )
    np.testing.assert_allclose(vectors, same, rtol=1e-5, atol=1e-6)
    weight, bias = (p.detach().numpy() for p in (probe.head.weight, probe.head.bias))
    logits = [[float(row[f"logit_{label}"]) for label in decoder.labels] for row in predicted]
    np.testing.assert_allclose(vectors @ weight.T + bias, logits, rtol=1e-4, atol=1e-5)
    # Again, as after a kill: what was trained is there.
    monkeypatch.setattr(type(find_suite("my_suite.MySuite")), "protocols", ("finetune",))
    again = benchmark(BenchmarkConfig(**settings), tmp_path / "run")
    assert again["rows"][0] == results["rows"][2] | {"seconds": None}
    with pytest.raises(UserError, match="run: holds a benchmark with another seed; choose another"):
        benchmark(BenchmarkConfig(**{**settings, "seed": 4, "plugins": []}), tmp_path / "run")


@pytest.mark.parametrize("stop", [UserError("broken"), KeyboardInterrupt()])
def test_benchmark_that_fails_first_leaves_nothing(
    users: Path, model: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: BaseException
) -> None:
    suite = find_suite("my_suite.MySuite")

    def broken(*arguments: object) -> None:
        assert (tmp_path / "run" / "settings.json").is_file()
        raise stop

    monkeypatch.setattr(type(suite), "zero_shot", broken)
    with pytest.raises(type(stop)):
        run_benchmark(suite, model, tmp_path / "run", device="cpu", quiet=True)
    assert not (tmp_path / "run").exists()


def test_foreign_folder_is_benchmarked_by_its_letters(
    users: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    theirs = LanguageModel(CaduceusConfig(d_model=8, n_layer=1, alphabet="characters", vocab_size=12))
    write_foreign(theirs.config, theirs.state_dict(), tmp_path / "theirs", "caduceus", "")
    suite = type(find_suite("my_suite.MySuite"))
    monkeypatch.setattr(suite, "protocols", ("probe",))
    monkeypatch.setattr(suite, "linear", False)
    settings = {"name": "my_suite.MySuite", "model": str(tmp_path / "theirs"), "device": "cpu"}
    row = benchmark(BenchmarkConfig(**settings), tmp_path / "run")["rows"][0]
    assert (row["protocol"], row["value"]) == ("probe", 1.0)


def test_family_without_likelihoods_is_probed_without_zero_shot(
    users: Path,
    model: LanguageModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.setattr(type(model.backbone), "causal", False)
    suite = find_suite("my_suite.MySuite")
    monkeypatch.setattr(type(suite), "linear", False)
    rows = run_benchmark(suite, model, tmp_path / "run", device="cpu")["rows"]
    assert rows[0]["value"] is None
    assert rows[0]["note"] == "zero_shot needs a model that is causal, and the family mamba is not"
    assert [row["protocol"] for row in rows if row["value"] is not None] == [
        "probe",
        "finetune",
        "baseline",
    ]
    assert "refused" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"^zero_shot needs a model that is causal"):
        run_benchmark(ShortBits(), model, tmp_path / "none", device="cpu")
    assert not (tmp_path / "none").exists()


def test_changed_or_missing_file_is_refused_before_writing(
    users: Path, model: LanguageModel, tmp_path: Path
) -> None:
    suite = find_suite("my_suite.MySuite")
    users.write_text(users.read_text() + "\n")
    with pytest.raises(
        UserError, match=r"t\.csv: SHA-256 must be .* fetch it anew from https://example"
    ) as error:
        run_benchmark(suite, model, tmp_path / "run", device="cpu")
    assert "\n" not in str(error.value)
    users.unlink()
    with pytest.raises(UserError, match=r"t\.csv: there is no such file; fetch it from https://example"):
        run_benchmark(suite, model, tmp_path / "run", device="cpu")
    with pytest.raises(UserError, match="can't be read"):
        Source(str(tmp_path), "0", "https://example.org").verified()
    assert not (tmp_path / "run").exists()


def test_bits_of_yeast_are_those_of_pretraining_report(model: LanguageModel, tmp_path: Path) -> None:
    rows = run_benchmark(ShortBits(), model, tmp_path, device="cpu", quiet=True)["rows"]
    config = ShortBits().data()
    data = config.build(0, global_batch_size=8, max_steps=1, world_size=1)
    for row, bits in zip(rows[1:], data.baselines("test").values(), strict=True):
        assert row["value"] == pytest.approx(bits, rel=1e-12)
    from dnamamba.objectives.next_base import NextBase

    meter = NextBase(model.config).meter()
    with torch.no_grad():
        for batch in dict(data.held_out_loaders())["test"]:
            meter.update(model, batch)
    assert rows[0]["value"] == pytest.approx(float(meter.compute()["bits_per_base"]), rel=1e-5)
    assert all(row["low"] < row["value"] < row["high"] for row in rows)


def test_coding_probe_is_compared_with_majority_class(model: LanguageModel, tmp_path: Path) -> None:
    rows = run_benchmark(ShortCoding(), model, tmp_path, device="cpu", quiet=True)["rows"]
    assert [row["protocol"] for row in rows] == ["probe", "finetune", "baseline"]
    counts = json.loads((tmp_path / "probe" / "metrics.json").read_text())["test"]["confusion"]
    shares = [sum(row) / np.sum(counts) for row in counts]
    assert rows[-1]["value"] in [pytest.approx(share) for share in shares]
    assert all(row["low"] <= row["value"] <= row["high"] for row in rows)
    assert all(row["seconds"] > 0 for row in rows[:2])
    assert "3 of the test sequences are in train too" in rows[0]["note"]


def test_every_interval_is_that_of_draws_of_windows() -> None:
    costs, counts = np.array([1.0, 3.0]), np.array([1, 1])
    # Of two windows a draw has the mean 1 or 3 a quarter of the time each: beyond 2.5 % at either end.
    assert ratio(costs, counts, 2000, 0) == (2.0, 1.0, 3.0)
    # Unequal windows: sums are divided, not means of ratios taken.
    assert ratio(np.array([1.0, 9.0]), np.array([1, 3]), 10, 0)[0] == 2.5
    hits = (np.arange(400) < 100).astype(np.float64)
    value, low, high = ratio(hits, np.ones(400, dtype=np.int64), 4000, 0)
    # Normal approximation: 0.25 +- 1.96 sqrt(0.25 * 0.75 / 400).
    assert (value, low, high) == (0.25, pytest.approx(0.2076, abs=0.005), pytest.approx(0.2924, abs=0.005))


@pytest.mark.parametrize("name", SUITES)
def test_the_packages_suites_are_found_by_name(name: str) -> None:
    assert find_suite(name).name == name
    # The authors of mavenn report mutual information, which stands beside no rank correlation.
    assert find_suite(name).published or name == "mave"


def test_mistakes_are_one_line(model: LanguageModel, tmp_path: Path, users: Path) -> None:
    class Odd(Suite):
        name, metric, protocols = "odd", "speed", ("guess",)

    class Wrong(ShortCoding):
        metric = "speed"
        protocols = ("probe",)

    for match, call in (
        (r"name: no such benchmark \(got 'x'\)", lambda: find_suite("x")),
        (r"name: cannot import 'no\.Such'", lambda: find_suite("no.Such")),
        (r"Odd\.protocols: no such protocol \(got guess\)", lambda: run_benchmark(Odd(), model, tmp_path)),
        (
            r"device: .*\(got 'tpu'\)",
            lambda: run_benchmark(ShortBits(), model, tmp_path / "r", device="tpu"),
        ),
        (
            r"linter: no protocol of yeast_bits splits sequences \(got seqleak\)",
            lambda: run_benchmark(ShortBits(), model, tmp_path / "r", device="cpu", linter="seqleak"),
        ),
        (
            r"Wrong\.metric: .*\(got 'speed'\); choose one of accuracy",
            lambda: run_benchmark(Wrong(), model, tmp_path / "r", device="cpu", quiet=True),
        ),
    ):
        with pytest.raises(UserError, match=match) as error:
            call()
        assert "\n" not in str(error.value)
