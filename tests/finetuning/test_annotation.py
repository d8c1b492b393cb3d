"""`finetune data=annotation` and `predict` on its model: genes are a repeat that nothing else is."""

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
from dnamamba.data.alphabet import get_alphabet
from dnamamba.data.base_classes import base_classes
from dnamamba.data.fasta import Genome
from dnamamba.inference.position_files import PositionAnswers
from dnamamba.models import PositionModel

Configure = Callable[..., DictConfig]
SHORT = (
    "data=annotation",
    "data.classes=[gene]",
    "data.valid=[c4]",
    "data.test=[c5]",
    "data.max_length=64",
    "model=scratch",
    "scratch.d_model=16",
    "scratch.n_layer=1",
    "decoder.context=both",
    "train.global_batch_size=8",
    "train.max_steps=20",
    "train.validate_every=10",
    "train.learning_rate=0.02",
    "task.bootstrap=20",
)


def write_genome(folder: Path) -> tuple[Path, Path]:
    """Five records: genes of C and A on the plus strand, T and G on the minus; between them A and T."""
    rng = np.random.default_rng(0)
    fasta, rows = [], ["##gff-version 3"]
    for record in range(1, 6):
        bases = ""
        for gene in range(6):
            bases += "".join(rng.choice(list("AT"), 30))
            strand = "+-"[gene % 2]
            rows.append(
                f"c{record}\t.\tgene\t{len(bases) + 1}\t{len(bases) + 30}\t.\t{strand}\t.\tID=g{record}{gene}"
            )
            bases += ("CCA" if strand == "+" else "TGG") * 10
        fasta.append(f">c{record}\n{bases}\n")
    (folder / "g.fa").write_text("".join(fasta))
    (folder / "g.gff3").write_text("\n".join(rows) + "\n")
    return folder / "g.fa", folder / "g.gff3"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from dnamamba.config import composed

    folder = tmp_path_factory.mktemp("annotation")
    fasta, gff = write_genome(folder)
    cfg = composed("finetune", [*SHORT, f"data.fasta={fasta}", f"data.annotation={gff}"])
    finetune(cfg, folder / "run")
    return folder


def test_known_genes_are_learnt_and_scored(trained: Path) -> None:
    found = json.loads((trained / "run" / "metrics.json").read_text())
    assert found["labels"] == ["none", "gene+", "gene-"]
    assert found["test"]["f1"]["value"] > 0.95
    assert [row["bases"] for row in found["test"]["per_label"]] == [180, 90, 90]
    assert set(found["baselines"]) == {"majority class", "25-base logistic", "order-2 HMM"}
    assert [row["true"] for row in found["test"]["segments"]] == [3, 3]


def test_metrics_are_those_of_predicted_probabilities(trained: Path) -> None:
    """Precision, recall, F1 and AUPRC of each class by hand, from what `predict` computes."""
    model = load(trained / "run")
    assert isinstance(model, PositionModel)
    genome = Genome(trained / "g.fa", get_alphabet("dna"))
    values = PositionAnswers(model, piece=50).values(genome, "c5").astype(np.float64)
    truth = base_classes(trained / "g.gff3", genome.lengths, "g.fa", kinds=["gene"]).values["c5"]
    best = values.argmax(1)
    rows = json.loads((trained / "run" / "metrics.json").read_text())["test"]["per_label"]
    for place, row in enumerate(rows):
        right = int(((best == place) & (truth == place)).sum())
        assert row["precision"] == pytest.approx(right / int((best == place).sum()), abs=1e-9)
        assert row["recall"] == pytest.approx(right / int((truth == place).sum()), abs=1e-9)
        order = np.argsort(-values[:, place], kind="stable")
        hits = (truth == place)[order]
        precision = np.cumsum(hits) / np.arange(1, hits.size + 1)
        assert row["auprc"] == pytest.approx(precision[hits].mean(), abs=1e-3)


def test_prediction_writes_segments_and_probabilities(trained: Path) -> None:
    run = str(trained / "run")
    for name in ("a.gff3", "a.bed", "a.tsv"):
        predict_to_file(PredictConfig(run, str(trained / name), fasta=str(trained / "g.fa"), overwrite=True))
    rows = [line.split("\t") for line in (trained / "a.gff3").read_text().splitlines() if line[0] != "#"]
    bed = [line.split("\t") for line in (trained / "a.bed").read_text().splitlines()]
    assert [(r[0], int(r[3]) - 1, int(r[4]), r[2], r[6]) for r in rows] == [
        (r[0], int(r[1]), int(r[2]), r[3], r[5]) for r in bed
    ]
    table = (trained / "a.tsv").read_text().splitlines()
    assert len(table) == len(bed) + 1
    true = [line.split("\t") for line in (trained / "g.gff3").read_text().splitlines()[1:]]
    places = {(r[0], int(r[3]), int(r[4]), r[6]) for r in true}
    hits = sum((r[0], int(r[3]), int(r[4]), r[6]) in places for r in rows)
    assert hits >= 0.8 * len(true)


def test_bigwig_has_probability_of_every_base(trained: Path) -> None:
    pyBigWig = pytest.importorskip("pyBigWig")
    out = trained / "p.bw"
    predict_to_file(
        PredictConfig(str(trained / "run"), str(out), fasta=str(trained / "g.fa"), overwrite=True)
    )
    model = load(trained / "run")
    assert isinstance(model, PositionModel)
    genome = Genome(trained / "g.fa", get_alphabet("dna"))
    values = PositionAnswers(model).values(genome, "c2")
    for place, label in enumerate(("none", "gene+", "gene-")):
        with pyBigWig.open(str(trained / f"p.{label}.bw")) as file:
            np.testing.assert_array_equal(file.values("c2", 0, 360, numpy=True), values[:, place])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"window": 10, "out": "x.bw"}, r"window: the model answers at every base or bin .* \(got 10\)"),
        ({"out": "x.csv"}, r"out=.*x.csv: the model's answers are written as .gff3 or .gff or .bed"),
        ({"out": "x.bed", "label": "gene+"}, "label: one label is written as bigWig"),
        ({"out": "x.bw", "label": "exon"}, r"label: the model has none, gene\+, gene- \(got 'exon'\)"),
    ],
)
def test_unusable_prediction_is_refused(trained: Path, settings: dict[str, object], words: str) -> None:
    given = {**settings, "out": str(trained / str(settings["out"]))}
    with pytest.raises(UserError, match=words):
        predict_to_file(
            PredictConfig(model=str(trained / "run"), fasta=str(trained / "g.fa"), **given)  # type: ignore[arg-type]
        )
    assert not (trained / str(settings["out"])).exists()


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("decoder.mode=last", "decoder.mode: has no meaning for an answer per base or bin"),
        ("decoder.strand=both", "decoder.strand: has no meaning"),
        ("task.fit=closed", "fit=closed|task.fit"),
        ("task.monitor=auroc", r"task.monitor: expected one of loss, accuracy, f1, mcc, auprc \(got auroc\)"),
        ("train.chunk_bases=32", "train.chunk_bases: decoder.context=both"),
        ("data.annotation=null", "data.annotation: a FASTA and an annotation go together"),
        ("data.valid=[]", "data.valid: nothing is held out for it"),
        ("task.class_weights=root", "task.class_weights: a chain of answers weighs no class"),
        ("train.chunk_bases=32 decoder.context=forward", "train.chunk_bases: data.chain=true"),
        (
            "data.chain=false task.class_weights={gene+: 1}",
            "task.class_weights: must be null, balanced, root",
        ),
    ],
)
def test_setting_without_meaning_is_refused_by_name(
    configure: Configure, tmp_path: Path, override: str, words: str
) -> None:
    fasta, gff = write_genome(tmp_path)
    cfg = configure(
        *SHORT,
        f"data.fasta={fasta}",
        f"data.annotation={gff}",
        *override.split(" ", 1 if "{" in override else -1),
    )
    with pytest.raises(UserError, match=words):
        finetune(cfg, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_chunked_training_equals_whole_windows(configure: Configure, tmp_path: Path) -> None:
    fasta, gff = write_genome(tmp_path)
    weights = []
    for chunk in ("null", "20"):
        cfg = configure(
            *SHORT,
            f"data.fasta={fasta}",
            f"data.annotation={gff}",
            "decoder.context=forward",
            "data.chain=false",
            "train.max_steps=2",
            "task.baselines=false",
            f"train.chunk_bases={chunk}",
        )
        finetune(cfg, tmp_path / f"run{chunk}")
        weights.append(load(tmp_path / f"run{chunk}").state_dict())
    for name, tensor in weights[0].items():
        torch.testing.assert_close(tensor, weights[1][name], rtol=1e-3, atol=1e-5)
