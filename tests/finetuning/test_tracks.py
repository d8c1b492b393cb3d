"""`finetune data=tracks` and `predict` on its model: signal that follows from a bin's bases."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import DictConfig

from dnamamba import UserError, load
from dnamamba.commands.finetune import finetune
from dnamamba.commands.predict import PredictConfig, predict_to_file
from dnamamba.config import composed
from dnamamba.data.signal import read_signal

Configure = Callable[..., DictConfig]
BIN = 8
SHORT = (
    "data=tracks",
    f"data.bin_size={BIN}",
    "data.valid=[c3]",
    "data.test=[c4]",
    "data.max_length=64",
    "model=scratch",
    "scratch.d_model=16",
    "scratch.n_layer=1",
    "train.global_batch_size=8",
    "train.max_steps=60",
    "train.validate_every=30",
    "train.learning_rate=0.02",
    "task.bootstrap=20",
)


def write_tracks(folder: Path) -> list[str]:
    """Four records of 603 bases: `g` counts G per bin and misses some, `c` counts C; the last is short.

    Of the test record bins 12 and 13 are N in the FASTA, and have a value in the tracks.
    """
    rng = np.random.default_rng(0)
    fasta, rows = [], {"g": [], "c": []}
    for record in range(1, 5):
        bases = "".join(rng.choice(list("ACGT"), 603, p=[0.3, 0.2, 0.2, 0.3]))
        letters = bases if record < 4 else f"{bases[:96]}{'N' * 16}{bases[112:]}"
        fasta.append(f">c{record}\n{letters}\n")
        for start in range(0, 603, BIN):
            part = bases[start : start + BIN]
            end = start + len(part)
            if start % 80:
                rows["g"].append(f"c{record}\t{start}\t{end}\t{part.count('G')}\n")
            rows["c"].append(f"c{record}\t{start}\t{end}\t{part.count('C')}\n")
    (folder / "g.fa").write_text("".join(fasta))
    for name, lines in rows.items():
        (folder / f"{name}.bedgraph").write_text("".join(lines))
    tracks = ",".join(f"{name}: {folder / name}.bedgraph" for name in rows)
    return [f"data.fasta={folder / 'g.fa'}", f"data.tracks={{{tracks}}}", "data.pairs=[[g,c]]"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tracks")
    finetune(composed("finetune", [*SHORT, *write_tracks(folder)]), folder / "run")
    return folder


def test_known_signal_is_learnt_and_compared(trained: Path) -> None:
    found = json.loads((trained / "run" / "metrics.json").read_text())
    assert found["test"]["pearson"]["value"] > 0.9
    # 76 bins of which the last is short and two are N; of `g` those that begin at a multiple of 80 are not
    # measured.
    assert [(row["label"], row["bins"]) for row in found["test"]["per_label"]] == [("g", 66), ("c", 74)]
    assert list(found["baselines"]) == ["mean", "1-mer linear"]
    assert found["baselines"]["mean"]["test"]["pearson"]["value"] is None


def test_predicted_bigwig_has_the_metrics_of_the_run(trained: Path) -> None:
    """Correlations by hand, in float64, from the files that `predict` writes of all records."""
    pytest.importorskip("pyBigWig")
    run, fasta = str(trained / "run"), str(trained / "g.fa")
    predict_to_file(PredictConfig(run, str(trained / "p.bw"), fasta=fasta, overwrite=True))
    rows = json.loads((trained / "run" / "metrics.json").read_text())["test"]["per_label"]
    lengths = dict.fromkeys(("c1", "c2", "c3", "c4"), 603)
    for row in rows:
        truth, found = (
            read_signal(trained / name, lengths, "g.fa", BIN).values["c4"].astype(np.float64)
            for name in (f"{row['label']}.bedgraph", f"p.{row['label']}.bw")
        )
        assert np.flatnonzero(np.isnan(found)).tolist() == [12, 13]
        there = ~np.isnan(truth) & ~np.isnan(found)
        assert row["bins"] == there.sum()
        expected = np.corrcoef(truth[there], found[there])[0, 1]
        assert row["pearson"] == pytest.approx(expected, abs=1e-6)
    predict_to_file(PredictConfig(run, str(trained / "p.tsv"), fasta=fasta, overwrite=True))
    lines = (trained / "p.tsv").read_text().splitlines()
    assert lines[0].split("\t") == ["record", "start", "end", "g", "c"]
    assert [line.split("\t")[:3] for line in (lines[76], lines[77])] == [
        ["c1", "600", "603"],
        ["c2", "0", "8"],
    ]


@pytest.mark.parametrize("loss", ["negative_binomial", "multinomial"])
def test_counts_are_learnt_by_their_own_losses(tmp_path: Path, loss: str) -> None:
    """A count follows from its bin's bases; the file has the answers, not what else the loss learns."""
    short = ("train.max_steps=40", "train.validate_every=40", "task.baselines=false", f"data.loss={loss}")
    found = finetune(composed("finetune", [*SHORT, *write_tracks(tmp_path), *short]), tmp_path / "run")
    assert found["test"]["pearson"]["value"] > 0.8
    out = tmp_path / "p.tsv"
    predict_to_file(PredictConfig(str(tmp_path / "run"), str(out), fasta=str(tmp_path / "g.fa")))
    names, *rows = [line.split("\t") for line in out.read_text().splitlines()]
    assert names[3:] == ["g", "c"]
    counts = np.array([[float(cell) for cell in row[3:]] for row in rows if row[0] == "c3"])
    # Both tracks have a fifth of each bin's bases, 1.6 of 8.
    assert counts.mean(0) == pytest.approx([1.6, 1.6], abs=0.4)


def test_segments_of_tracks_are_refused(trained: Path) -> None:
    with pytest.raises(UserError, match=r"the model's answers are written as .tsv or .bw"):
        predict_to_file(
            PredictConfig(str(trained / "run"), str(trained / "x.gff3"), fasta=str(trained / "g.fa"))
        )


@pytest.mark.parametrize(
    ("override", "words"),
    [
        (
            "data.max_length=60",
            r"data.max_length: a window is not a whole number of bins of 8 bases \(got 60\)",
        ),
        ("data.bin_size=129", r"data.bin_size: must lie between 1 and 128 bases \(got 129\)"),
        ("data.loss=huber", "data.loss: must be one of poisson, negative_binomial, multinomial, mse"),
        ("data.pairs=[[g]]", "data.pairs: expected pairs of tracks"),
        ("data.tracks=null", "data.tracks: expected a bigWig or bedGraph file of each track"),
        ("train.chunk_bases=20", "train.chunk_bases: a chunk is not a whole number of bins of 8 bases"),
        (
            "data.loss=multinomial train.chunk_bases=16",
            "train.chunk_bases: data.loss=multinomial compares all",
        ),
    ],
)
def test_setting_without_meaning_is_refused_by_name(tmp_path: Path, override: str, words: str) -> None:
    given = write_tracks(tmp_path)
    with pytest.raises(UserError, match=words):
        finetune(composed("finetune", [*SHORT, *given, *override.split()]), tmp_path / "run")


def test_negative_signal_needs_squared_errors(tmp_path: Path) -> None:
    given = write_tracks(tmp_path)
    path = tmp_path / "c.bedgraph"
    path.write_text(path.read_text().replace("c1\t0\t8\t", "c1\t0\t8\t-1"))
    with pytest.raises(UserError, match=r"data.tracks.c: has negative values, .* choose data.loss=mse"):
        finetune(composed("finetune", [*SHORT, *given]), tmp_path / "run")


def test_chunked_training_equals_whole_windows(tmp_path: Path) -> None:
    given = write_tracks(tmp_path)
    weights = []
    for chunk in ("null", "24"):
        short = (*SHORT, *given, "train.max_steps=2", "task.baselines=false", f"train.chunk_bases={chunk}")
        finetune(composed("finetune", [*short, "data.loss=negative_binomial"]), tmp_path / f"run{chunk}")
        weights.append(load(tmp_path / f"run{chunk}").state_dict())
    for name, tensor in weights[0].items():
        torch.testing.assert_close(tensor, weights[1][name], rtol=1e-3, atol=1e-5)
