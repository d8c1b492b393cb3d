"""A plant biologist's goals, by documented commands only, on files made as real ones look."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from tests.newcomer.conftest import Shell

PREDICT = "finetune mode=predict model=tissue data.fasta=genome.fa.gz"
GENES = "fasta=genome.fa.gz bed=genes.gff3 regions.feature=gene regions.upstream=150"


@pytest.fixture(scope="module")
def classifier(shell: Shell, folder: Path) -> Path:
    """Where a gene is expressed, learnt from its promoter, with whole chromosomes held out."""
    regions = "data.regions.feature=gene data.regions.label=tissue data.regions.upstream=150"
    status, out, err = shell(
        "finetune model=scratch scratch.d_model=16 scratch.n_layer=1 data.fasta=genome.fa.gz "
        f"data.bed=genes.gff3 {regions} data.valid=Chr2 data.test=Chr3 task.fit=closed train.max_steps=10 "
        "train.global_batch_size=16 data.batch_size=16 task.bootstrap=20 hydra.run.dir=tissue"
    )
    assert status == 0, err
    assert "no sequence, nor its reverse complement, is in two splits" in out
    accuracy = json.loads((folder / "tissue/metrics.json").read_text())["test"]["accuracy"]
    assert accuracy["value"] > 0.9
    return folder / "tissue"


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ","))


def test_promoters_of_genes_are_judged(shell: Shell, folder: Path, classifier: Path) -> None:
    status, out, err = shell(f"predict model=tissue {GENES} regions.label=tissue out=genes.csv")
    assert status == 0, err
    found = rows(folder / "genes.csv")
    right = np.mean([row["predicted"] == row["label"] for row in found])
    assert right > 0.9
    assert found[0]["id"] == "gene:AT1G00000"
    assert json.loads((folder / "genes.metrics.json").read_text())["metrics"]["accuracy"] == right
    assert f"accuracy {right:.4g}" in out


def test_peaks_named_otherwise_are_predicted(shell: Shell, folder: Path, classifier: Path) -> None:
    line = "predict model=tissue fasta=genome.fa.gz bed=peaks.narrowPeak.gz out=peaks.bed"
    status, _, err = shell(line)
    assert status == 1
    assert "has no record 'Mt'; the records are Chr1, Chr2, Chr3 (regions.unknown=skip leaves such" in err
    assert err.count("\n") == 1
    status, _, err = shell(f"{line} regions.unknown=skip")
    assert status == 0, err
    assert "1 regions skipped, on records that the FASTA lacks: Mt (1)" in err
    assert "chromosome names matched by synonyms: 1 is Chr1, 2 is Chr2, 3 is Chr3" in err
    lines = [line.split("\t") for line in (folder / "peaks.bed").read_text().splitlines()]
    assert [line[:4] for line in lines[:2]] == [
        ["Chr1", "350", "500", "peak350"],
        ["Chr1", "1350", "1500", "peak1350"],
    ]


def test_a_sheet_of_excel_trains_a_regression(shell: Shell, folder: Path) -> None:
    status, out, err = shell(
        "finetune model=scratch scratch.d_model=8 scratch.n_layer=1 'data.table=expression data.csv' "
        "data.task=regression data.columns.id=Gene data.columns.label=Expression train.max_steps=2 "
        "train.global_batch_size=8 data.batch_size=8 task.bootstrap=5 hydra.run.dir=expression"
    )
    assert status == 0, err
    for said in ("separated by semicolons", "decimal commas", "whatever their case: Sequence"):
        assert said in " ".join(out.split())
    status, out, err = shell(
        "predict model=expression 'table=expression data.csv' columns.id=Gene columns.label=Expression "
        "out=e.tsv"
    )
    assert status == 0, err
    found = rows(folder / "e.tsv")
    assert [row["id"] for row in found[:2]] == ["AT1G00000", "AT1G00001"]
    errors = [float(row["predicted"]) - float(row["label"]) for row in found]
    document = json.loads((folder / "e.metrics.json").read_text())
    assert document["metrics"]["rmse"] == pytest.approx(np.sqrt(np.mean(np.square(errors))))


def test_promoters_get_labels_of_the_sheet_by_gene(shell: Shell, folder: Path) -> None:
    promoters = "data.regions.feature=gene data.regions.upstream=150 'data.labels=expression data.csv'"
    line = (
        "finetune model=scratch scratch.d_model=8 scratch.n_layer=1 data.fasta=genome.fa.gz "
        f"data.bed=genes.gff3 {promoters} data.columns.id=Gene data.columns.label=Expression "
        "data.task=regression data.valid=Chr2 data.test=Chr3 train.max_steps=1 data.batch_size=8 "
        "train.global_batch_size=8 task.bootstrap=5 task.baselines=false hydra.run.dir=joined"
    )
    status, _, err = shell(line)
    assert status == 1
    assert "'AT1G00000', and 'gene:AT1G00000' in genes.gff3); set data.regions.name" in err
    status, _, err = shell(f"{line} data.regions.name=Name")
    assert status == 0, err
    sheet = (folder / "expression data.csv").read_text("utf-8-sig").splitlines()[1:]
    number_of = {
        gene: float(number.replace(",", ".")) for gene, _, number in (row.split(";") for row in sheet)
    }
    genes = {}
    for row in (folder / "genes.gff3").read_text().splitlines():
        fields = row.split("\t")
        if len(fields) == 9 and fields[2] == "gene":
            name = fields[8].partition("Name=")[2].partition(";")[0]
            genes[name] = number_of[name]
    found = rows(folder / "joined" / "predictions.tsv")
    assert {row["id"]: float(row["label"]) for row in found} == pytest.approx(
        {row["id"]: genes[row["id"]] for row in found}, abs=1e-6
    )
    assert len(found) == 32


def test_variants_are_scored_by_the_answer(shell: Shell, folder: Path, classifier: Path) -> None:
    common = "model=tissue fasta=genome.fa.gz vcf=variants.vcf window=150"
    status, _, err = shell(f"predict {common} out=alleles.csv")
    assert status == 0, err
    status, _, err = shell(f"score {common} strand=forward out=effects.csv")
    assert status == 0, err
    alleles, effects = rows(folder / "alleles.csv"), rows(folder / "effects.csv")
    assert len(alleles) == len(effects) == 12
    for allele, effect in zip(alleles, effects, strict=True):
        odds = [
            np.log(float(allele[f"{what}_root"]) / float(allele[f"{what}_leaf"])) for what in ("alt", "ref")
        ]
        assert float(effect["effect"]) == pytest.approx(odds[0] - odds[1], rel=1e-3, abs=1e-4)


def test_embeddings_and_sliding_track_lie_in_place(shell: Shell, folder: Path, classifier: Path) -> None:
    status, _, err = shell(f"embed model=tissue {GENES} out=vectors.csv")
    assert status == 0, err
    found = rows(folder / "vectors.csv")
    assert found[0]["name"] == "gene:AT1G00000"
    assert np.isfinite([float(found[0][f"e{number}"]) for number in range(16)]).all()
    status, _, err = shell(
        "tracks model=tissue fasta=genome.fa.gz window=150 stride=50 label=leaf out=leaf.bw"
    )
    assert status == 0, err
    status, _, err = shell(
        "predict model=tissue fasta=genome.fa.gz window=150 stride=50 label=leaf out=same.bw"
    )
    assert status == 0, err
    assert (folder / "same.bw").read_bytes() == (folder / "leaf.bw").read_bytes()
    big = pytest.importorskip("pyBigWig").open(str(folder / "leaf.bw"))
    gene = np.mean(big.values("Chr1", 400, 450))  # in the promoter of the first gene, of leaves
    other = np.mean(big.values("Chr1", 1400, 1450))  # of the third, of roots
    big.close()
    assert gene > 0.7 > 0.3 > other


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "predict model=tisue fasta=genome.fa.gz out=x.tsv",
            "model: no model at tisue; did you mean tissue?",
        ),
        (
            "predict model=tissue fasta=genome.fa out=x.tsv",
            "no such file, genome.fa; did you mean genome.fa.gz?",
        ),
        ("predict model=tissue fasta=genome.fa.gz bed=genes.gff3 out=x.tsv", "has gene (78), mRNA (78)"),
        (f"{PREDICT} data.max_length=9", "data.max_length: has no effect without mode=train"),
        (f"{PREDICT} decoder.strand=both", "decoder.strand: has no effect without mode=train"),
        ("tracks model=tissue fasta=genome.fa.gz out=x.bw", "window: tissue is fine-tuned, and answers for"),
        (
            "tracks model=tissue fasta=genome.fa.gz out=x.bw window=99 quantity=entropy",
            "quantity: tissue is fine-tuned, and its track is of its answer (got entropy); leave it out",
        ),
    ],
)
def test_a_slip_is_one_line_with_the_remedy(shell: Shell, classifier: Path, line: str, said: str) -> None:
    status, _, err = shell(line)
    assert status == 1
    assert said in err
    assert err.count("\n") == 1
