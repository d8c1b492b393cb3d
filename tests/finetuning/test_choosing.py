"""Settings that are left open: decided by simple models, and only where these are sure."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from dnamamba import LabelledConfig, UserError, load
from dnamamba.commands.finetune import finetune
from dnamamba.datasets.base import DataModule
from dnamamba.models import DecoderConfig
from dnamamba.training import baselines as baselines_module
from dnamamba.training import choosing as choosing_module
from dnamamba.training import run as run_module
from dnamamba.training.baselines import Baselines
from dnamamba.training.choosing import choose
from dnamamba.training.tuned import Pooling
from tests.finetuning.conftest import SHORT, Configure, write_table
from tests.finetuning.test_baselines import aligned

QUIET = Console(quiet=True)


def opened(table: Path, **settings: Any) -> DataModule:
    config = LabelledConfig(table=str(table), alphabet="dna", **settings)
    return config.build(0, global_batch_size=8, max_steps=4, world_size=1)


AUTO = Pooling()
MEAN = Pooling("mean", context="forward", conv=0)
UNDECIDED = Pooling("positions", context="both", conv=2)
MEANS = "decoder.mode=mean decoder.context=forward decoder.conv=0: "
BOTH = "data.reverse_complement=true: "


def chosen(data: DataModule, pooling: Pooling = AUTO, **given: Any) -> tuple[Pooling, list[str]]:
    return choose(pooling, data, Baselines(data.decoder("mean").head, None, data), QUIET, **given)


def stranded(path: Path, number: int, means: bool) -> Path:
    """Sequences of many A or of many C; where the strand means nothing, half of them are turned."""
    rng = np.random.default_rng(3)
    lines = ["id,sequence,label,split"]
    for place in range(number):
        first = place % 2
        p = [0.4, 0.2, 0.2, 0.2] if first else [0.2, 0.4, 0.2, 0.2]
        ids = rng.choice(4, rng.integers(30, 40), p=p)
        if not means and rng.random() < 0.5:
            ids = 3 - ids[::-1]
        split = ("train", "train", "valid", "test")[place // 2 % 4]
        lines.append(f"s{place},{''.join('ACGT'[i] for i in ids)},{'ac'[1 - first]},{split}")
    path.write_text("\n".join(lines) + "\n")
    return path


def test_positions_are_read_where_places_decide(tmp_path: Path) -> None:
    data = opened(aligned(tmp_path / "t.csv"))
    pooling, lines = chosen(data)
    assert pooling == Pooling("positions", context="forward", conv=0)
    assert data.reverse_complement is False
    assert lines[0].startswith(
        "decoder.mode=positions decoder.context=forward decoder.conv=0: on validation the loss of one-hot "
        "logistic is smaller by "
    )
    assert lines[1].startswith("data.reverse_complement=false: on validation the loss of one-hot logistic")


def test_the_mean_is_read_where_words_decide(tmp_path: Path) -> None:
    """One class has a word that the other has not, anywhere in the sequence."""
    rng = np.random.default_rng(6)
    lines = ["id,sequence,label,split"]
    for place in range(240):
        letters = "".join("ACGT"[i] for i in rng.integers(4, size=40))
        start = rng.integers(34)
        if place % 2:
            letters = letters[:start] + "GATTAC" + letters[start + 6 :]
        lines.append(f"s{place},{letters},{'ab'[place % 2]},{('train', 'valid', 'test')[place // 2 % 3]}")
    table = tmp_path / "t.csv"
    table.write_text("\n".join(lines) + "\n")
    pooling, lines = chosen(opened(table))
    assert pooling == MEAN
    assert lines[0].startswith(f"{MEANS}on validation the loss of ")
    assert lines[0].endswith(" than that of one-hot logistic")


def random_letters(path: Path, length: int) -> Path:
    """Labels that no sequence tells; sequences longer than `length` by up to two bases, where it is odd."""
    rng = np.random.default_rng(5)
    lines = ["id,sequence,label,split"]
    for place in range(80):
        letters = "".join("ACGT"[i] for i in rng.integers(4, size=length + place % 3 * (length % 2)))
        lines.append(f"s{place},{letters},{'ab'[place % 2]},{('train', 'valid', 'test')[place // 2 % 3]}")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize(
    ("given", "causal", "expected"),
    [
        (AUTO, True, UNDECIDED),
        (AUTO, False, Pooling("positions", context="forward", conv=2)),
        (Pooling(context="forward", conv=0), True, Pooling("positions", context="forward", conv=0)),
        (Pooling(conv=1), True, Pooling("positions", context="both", conv=1)),
        (Pooling("attention"), True, Pooling("attention", context="forward", conv=0)),
        (Pooling("mean", conv=3), True, Pooling("mean", context="forward", conv=3)),
    ],
)
def test_what_can_learn_either_is_read_where_neither_is_sure(
    tmp_path: Path, given: Pooling, causal: bool, expected: Pooling
) -> None:
    pooling, lines = chosen(opened(random_letters(tmp_path / "t.csv", 24)), given, causal=causal)
    assert pooling == expected
    said = (
        f"decoder.mode=positions decoder.context={expected.context} decoder.conv={expected.conv}: "
        "on validation neither one-hot logistic nor "
    )
    assert [line.startswith(said) for line in lines[:-1]] == [True] * (given.mode == "auto")
    assert lines[-1].startswith(f"{BOTH}on validation the loss of ")


def test_unequal_lengths_are_averaged(tmp_path: Path) -> None:
    pooling, lines = chosen(opened(random_letters(tmp_path / "t.csv", 25)))
    assert pooling == MEAN
    assert lines[0] == f"{MEANS}the sequences differ in length"


def test_long_sequences_are_averaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (baselines_module, choosing_module):
        monkeypatch.setattr(module, "LONGEST", 11)
    pooling, lines = chosen(opened(aligned(tmp_path / "t.csv")))
    assert pooling == MEAN
    assert lines[0] == f"{MEANS}the sequences are longer than 11 bases"


@pytest.mark.parametrize("means", [True, False])
def test_other_strand_is_read_unless_it_means_something(tmp_path: Path, means: bool) -> None:
    data = opened(stranded(tmp_path / "t.csv", 400, means))
    _, lines = chosen(data, MEAN)
    assert data.reverse_complement is not means
    assert [line.startswith(f"data.reverse_complement={str(not means).lower()}: ") for line in lines] == [
        True
    ]


@pytest.mark.parametrize(
    ("strands", "read"), [("+-", False), ("+", True), ("-.", True)], ids=["both", "+", "-."]
)
def test_strands_of_regions_are_kept(tmp_path: Path, strands: str, read: bool) -> None:
    """Letters are random: the baselines have no opinion."""
    rng = np.random.default_rng(4)
    records = ("one", "two", "three")
    texts = ["".join("ACGT"[i] for i in rng.integers(4, size=2_000)) for _ in records]
    (tmp_path / "g.fa").write_text("".join(f">{n}\n{t}\n" for n, t in zip(records, texts, strict=True)))
    rows = [
        f"{record}\t{30 * i}\t{30 * i + 30}\t{'ab'[int(rng.integers(2))]}\t0\t{strands[i % len(strands)]}\n"
        for record in records
        for i in range(60)
    ]
    (tmp_path / "r.bed").write_text("".join(rows))
    config = LabelledConfig(
        fasta=str(tmp_path / "g.fa"),
        bed=str(tmp_path / "r.bed"),
        alphabet="dna",
        valid=["two"],
        test=["three"],
    )
    data = config.build(0, global_batch_size=8, max_steps=4, world_size=1)
    _, said = chosen(data, MEAN)
    assert data.reverse_complement is read
    given = "data.reverse_complement=false: the regions were given with their strands"
    assert [line == given for line in said] == [not read]
    assert said[0].startswith(BOTH) is read


def test_what_is_given_is_not_decided(tmp_path: Path) -> None:
    data = opened(aligned(tmp_path / "t.csv"), reverse_complement=True)
    given = Pooling("next", context="forward", conv=0)
    assert chosen(data, given) == (given, [])
    assert data.reverse_complement is True


def test_a_computed_head_has_no_weights_for_positions(tmp_path: Path) -> None:
    pooling, lines = chosen(opened(aligned(tmp_path / "t.csv")), may_learn=False)
    assert pooling == MEAN
    assert lines[0] == f"{MEANS}task.fit=closed and train.chunk_bases leave no other choice"


def test_without_baselines_all_is_as_ever(tmp_path: Path) -> None:
    data = opened(aligned(tmp_path / "t.csv"))
    none = "there are no simple models to decide by"
    assert choose(AUTO, data, None, QUIET) == (MEAN, [f"{MEANS}{none}", f"{BOTH}{none}"])
    assert data.reverse_complement is True


def test_deciding_draws_no_random_number(tmp_path: Path) -> None:
    """A run's first weights are those of a run that decided nothing."""
    data = opened(write_table(tmp_path / "t.csv"))
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    chosen(data)
    assert torch.equal(torch.rand(1), expected)


def test_run_says_its_choice_and_resumes_with_it(
    configure: Configure,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[str, str]] = []

    def graphs(train: Any, model: Any, objective: Any, *_: Any) -> bool:
        asked.append((model.decoder.mode, objective.decoder.mode))
        return False

    # What decides on graphs asks the objective, which must know what the model pools by.
    monkeypatch.setattr(run_module, "one_chunk_by_graphs", graphs)
    own = (*SHORT, f"data.table={aligned(tmp_path / 't.csv')}", "task.baselines=true")
    results = finetune(configure(*own, "train.max_steps=2"), tmp_path / "run")
    printed = capsys.readouterr().out
    assert len(results["chosen"]) == 2
    assert all(line in printed for line in results["chosen"])
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["chosen"] == results["chosen"]
    decoder = load(tmp_path / "run").decoder  # type: ignore[union-attr]
    assert (decoder.mode, decoder.length) == ("positions", 12)
    assert asked == [("positions", "positions")]
    last = f"ckpt_path={tmp_path / 'run'}"
    given = ("decoder.mode=positions", "data.reverse_complement=false", "task.baselines=false")
    assert finetune(configure(*own, *given, last, "train.max_steps=3"), tmp_path / "more")["steps"] == 3


def test_chunks_leave_the_mean_where_places_decide(configure: Configure, tmp_path: Path) -> None:
    own = (*SHORT, f"data.table={aligned(tmp_path / 't.csv')}", "task.baselines=true")
    finetune(configure(*own, "train.max_steps=1", "train.chunk_bases=4"), tmp_path / "run")
    assert load(tmp_path / "run").decoder.mode == "mean"  # type: ignore[union-attr]


@pytest.mark.parametrize("mistake", ["task.monitor=luck", "task.class_weights=heavy", "decoder.mode=first"])
def test_a_mistake_is_refused_before_baselines_are_fitted(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mistake: str
) -> None:
    monkeypatch.setattr(Baselines, "fit", lambda *_: pytest.fail("fitted"))
    own = (*SHORT, f"data.table={write_table(tmp_path / 't.csv')}", "task.baselines=true")
    with pytest.raises(UserError, match=mistake.partition("=")[0]):
        finetune(configure(*own, mistake), tmp_path / "run")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"mode": "first"}, r"^decoder.mode: must be one of auto, last, .* \(got 'first'\)$"),
        ({"strand": "x"}, r"^decoder.strand: must be one of forward, both \(got 'x'\)$"),
        ({"context": "left"}, r"^decoder.context: must be one of auto, forward, both \(got 'left'\)$"),
        ({"conv": -1}, r"^decoder.conv: must lie between 0 and 10 convolutions \(got -1\)$"),
        ({"conv": 11}, r"^decoder.conv: must lie between 0 and 10 convolutions \(got 11\)$"),
        ({"conv": 1.5}, r"^decoder.conv: expected a whole number or auto \(got 1.5\); set one$"),
    ],
)
def test_decoder_group_out_of_range_is_refused_when_built(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Pooling(**given)


def test_convolutions_of_a_head_are_whole() -> None:
    with pytest.raises(UserError, match=r"^decoder.conv: must be a whole number \(got 1.5\)$"):
        DecoderConfig("regression", ("x",), "mean", conv=1.5)  # type: ignore[arg-type]
