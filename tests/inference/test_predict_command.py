"""`dnamamba predict`: what is read, what is written, how it is judged; against the model itself."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dnamamba import (
    DecoderConfig,
    LanguageModel,
    MambaConfig,
    SequenceModel,
    UserError,
    get_alphabet,
    save_model,
)
from dnamamba.commands.predict import PredictConfig, predict_to_file
from dnamamba.data.regions import RegionsConfig
from dnamamba.inference.predict_vcf import predict_variants

from .conftest import random_dna

DNA = get_alphabet("dna")
ONE, TWO = random_dna(300, 3).replace("N", "C"), random_dna(120, 5)
Run = Callable[..., Path]


def asked(kind: str, labels: tuple[str, ...]) -> SequenceModel:
    torch.manual_seed(3)
    unit = {"shift": 5.0, "scale": 2.0} if kind == "regression" else {}
    model = SequenceModel(MambaConfig(d_model=8, n_layer=2), DecoderConfig(kind, labels, "mean", **unit))
    torch.nn.init.normal_(model.head.weight, std=3)
    torch.nn.init.normal_(model.backbone.embedding.weight, std=0.5)
    return model.eval()


MODELS = {
    "classification": asked("classification", ("leaf", "root")),
    "multilabel": asked("multilabel", ("cold", "heat", "salt")),
    "regression": asked("regression", ("value",)),
}


def direct(kind: str, letters: str) -> np.ndarray:
    model = MODELS[kind]
    with torch.no_grad():
        logits = model(torch.from_numpy(DNA.encode(letters))[None])[0].double()
    return model.decoder.head.predict(logits).numpy()


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    Path("g.fa").write_text(f">chr1 first\n{ONE}\n>chr2\n{TWO}\n")
    Path("r.bed").write_text("1\t10\t60\ta\t0\t+\n2\t5\t35\tb\t0\t-\n")
    for kind, model in MODELS.items():
        save_model(model, Path(kind))
    save_model(LanguageModel(MambaConfig(8, 1)), Path("pretrained"))

    def predicted(kind: str = "classification", **settings: Any) -> Path:
        return predict_to_file(PredictConfig(**{"model": kind, "out": "p.tsv", "device": "cpu", **settings}))

    return predicted


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter="," if path.suffix == ".csv" else "\t"))


@pytest.mark.parametrize("out", ["p.tsv", "p.csv", "p.parquet"])
@pytest.mark.parametrize("kind", MODELS)
def test_records_of_fasta_become_rows_of_table(run: Run, kind: str, out: str) -> None:
    path = run(kind, fasta="g.fa", out=out)
    if out == "p.parquet":
        parquet = pytest.importorskip("pyarrow.parquet")
        found = parquet.read_table(path).to_pylist()
        assert all(isinstance(row["start"], int) for row in found)
    else:
        found = rows(path)
    assert [(row["id"], row["record"], int(row["end"])) for row in found] == [
        ("chr1", "chr1", 300), ("chr2", "chr2", 120)
    ]  # fmt: skip
    for row, letters in zip(found, (ONE, TWO), strict=True):
        wanted = direct(kind, letters)
        if kind == "regression":
            assert float(row["predicted"]) == pytest.approx(wanted[0], rel=1e-5)
        else:
            labels = MODELS[kind].decoder.labels
            assert [float(row[f"p_{label}"]) for label in labels] == pytest.approx(
                list(wanted), rel=1e-4, abs=1e-7
            )


def test_regions_are_read_by_strand_written_as_bed(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    path = run(fasta="g.fa", bed="r.bed", out="p.bed")
    lines = [line.split("\t") for line in path.read_text().splitlines()]
    other = DNA.decode(DNA.reverse_complement(DNA.encode(TWO[5:35])))
    for line, place, letters in zip(
        lines, (["chr1", "10", "60", "a"], ["chr2", "5", "35", "b"]), (ONE[10:60], other), strict=True
    ):
        p = direct("classification", letters)
        assert line[:4] == place
        assert int(line[4]) == round(1000 * p.max())
        assert line[6] == ("leaf", "root")[int(p.argmax())]
        assert [float(line[7]), float(line[8])] == pytest.approx(list(p), rel=1e-4)
    assert [line[5] for line in lines] == ["+", "-"]
    assert "chromosome names matched by synonyms: 1 is chr1, 2 is chr2" in capsys.readouterr().err


def test_a_peak_without_strand_keeps_its_dot(run: Run) -> None:
    peaks = "chr1\t10\t60\tone\t900\t.\t3.5\t2\t1.5\t7\nchr2\t5\t35\ttwo\t0\t-\t5\t9\t0\t1\n"
    Path("p.narrowPeak").write_text(peaks)
    lines = [
        line.split("\t")
        for line in run(fasta="g.fa", bed="p.narrowPeak", out="p.bed").read_text().split("\n")
    ]
    assert [line[5] for line in lines[:2]] == [".", "-"]
    assert [float(cell) for cell in lines[0][7:9]] == pytest.approx(
        list(direct("classification", ONE[10:60])), rel=1e-4
    )
    logits = [float(cell) for cell in lines[0][9:]]
    assert np.exp(logits) / np.exp(logits).sum() == pytest.approx([float(c) for c in lines[0][7:9]], rel=1e-6)


def test_promoters_of_annotation_are_judged_by_attribute(run: Run) -> None:
    gene = "chr{}\tx\tgene\t{}\t{}\t.\t{}\t.\tID={};tissue={}\n"
    Path("a.gff3").write_text(
        gene.format(1, 101, 200, "+", "A", "leaf") + gene.format(2, 21, 60, "-", "B", "root")
    )
    regions = RegionsConfig(feature="gene", label="tissue", upstream=40, downstream=10)
    path = run(fasta="g.fa", bed="a.gff3", regions=regions)
    found = rows(path)
    assert [(row["id"], row["start"], row["end"], row["strand"], row["label"]) for row in found] == [
        ("A", "60", "110", "+", "leaf"), ("B", "50", "100", "-", "root")
    ]  # fmt: skip
    right = sum(row["predicted"] == row["label"] for row in found)
    document = json.loads(Path("p.metrics.json").read_text())
    assert document["metrics"]["accuracy"] == right / 2
    assert document["sequences"] == 2


@pytest.mark.parametrize(
    ("kind", "labels", "metric"),
    [("classification", ("leaf", "root"), "accuracy"), ("regression", ("3.5", "7"), "rmse")],
)
def test_a_table_with_labels_is_evaluated(run: Run, kind: str, labels: tuple[str, ...], metric: str) -> None:
    text = f"Seq,id,label\n{ONE},s1,{labels[0]}\n{TWO},s2,{labels[1]}\n"
    Path("t.csv").write_text(text)
    found = rows(run(kind, table="t.csv", columns={"sequence": "Seq"}))
    assert [row["id"] for row in found] == ["s1", "s2"]
    assert "record" not in found[0]
    document = json.loads(Path("p.metrics.json").read_text())
    if kind == "regression":
        errors = [float(row["predicted"]) - float(label) for row, label in zip(found, labels, strict=True)]
        wanted = float(np.sqrt(np.mean(np.square(errors))))
    else:
        wanted = np.mean([row["predicted"] == label for row, label in zip(found, labels, strict=True)])
    assert document["metrics"][metric] == pytest.approx(wanted, rel=1e-9)
    Path("p.metrics.json").unlink()
    run(kind, table="t.csv", columns={"sequence": "Seq"}, evaluate=False, overwrite=True)
    assert not Path("p.metrics.json").exists()


def test_records_are_judged_by_table_of_their_labels(run: Run) -> None:
    Path("l.tsv").write_text("id\tlabel\nchr2\theat;salt\nchr1\t\n")
    found = rows(run("multilabel", fasta="g.fa", labels="l.tsv"))
    assert [row["label"] for row in found] == ["", "heat;salt"]
    assert 0 <= json.loads(Path("p.metrics.json").read_text())["metrics"]["accuracy"] <= 1
    Path("l.tsv").write_text("id\tlabel\nchr2\theat\n")
    with pytest.raises(UserError, match=r"l\.tsv: 1 sequence\(s\) have no label, the first is 'chr1'"):
        run("multilabel", fasta="g.fa", labels="l.tsv", overwrite=True)


def test_regions_are_judged_by_table_of_some_labels(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    Path("r.bed").write_text("1\t10\t60\ta\t0\t+\n2\t5\t35\tb\t0\t-\n1\t0\t40\tc\n")
    Path("l.csv").write_text("Gene;Organ\nc;root\nb;leaf\nz;leaf\n")
    given = {"fasta": "g.fa", "bed": "r.bed", "labels": "l.csv", "columns": {"id": "Gene", "label": "Organ"}}
    found = rows(run(**given))
    assert [(row["id"], row["label"]) for row in found] == [("a", ""), ("b", "leaf"), ("c", "root")]
    right = [row["predicted"] == row["label"] for row in found[1:]]
    document = json.loads(Path("p.metrics.json").read_text())
    assert (document["sequences"], document["metrics"]["accuracy"]) == (2, np.mean(right))
    said = " ".join(capsys.readouterr().err.split())
    assert "1 regions without a label in l.csv, not judged: the first is 'a'" in said
    Path("l.csv").write_text("Gene;Organ\nq;root\n")
    with pytest.raises(UserError, match=r"^labels: no id of l\.csv names a region .*; set regions\.name"):
        run(**given, overwrite=True)


def test_sliding_track_has_each_answer_mid_window(run: Run) -> None:
    pytest.importorskip("pyBigWig")
    bigtools = pytest.importorskip("pybigtools")
    path = run(fasta="g.fa", out="p.bw", window=100, stride=20)
    track = bigtools.open(str(path))
    for first in (0, 20, 200):
        wanted = direct("classification", ONE[first : first + 100])[1]
        values = np.array(track.values("chr1", first + 40, first + 60, fillna=None))
        np.testing.assert_allclose(values, wanted, rtol=1e-5)
    assert np.isnan(np.array(track.values("chr1", 0, 40, fillna=None))).all()
    assert np.isnan(np.array(track.values("chr1", 260, 300, fillna=None))).all()
    assert len(track.values("chr1", 40, 260, fillna=None)) == len(range(0, 201, 20)) * 20
    Path("o.bed").write_text("chr1\t0\t50\nchr1\t40\t90\n")
    with pytest.raises(UserError, match="regions overlap, and a bigWig holds one value per base"):
        run(fasta="g.fa", bed="o.bed", out="o.bw")


def test_a_bigwig_has_one_entry_for_each_run_of_equal_values(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    pybigwig = pytest.importorskip("pyBigWig")
    Path("g.fa").write_text(f">chr1\n{'N' * 60}{ONE[:60]}\n>chr2\n{TWO}\n")
    Path("r.bed").write_text("chr1\t90\t101\nchr1\t20\t60\nchr1\t0\t20\nchr2\t7\t8\n")
    with pybigwig.open(str(run(fasta="g.fa", bed="r.bed", out="p.bw", strand="forward"))) as file:
        found = {name: file.intervals(name) for name in ("chr1", "chr2")}
    runs = [(0, 20), (20, 60), (90, 101)]
    values = [direct("classification", letters)[1] for letters in ("N" * 20, "N" * 40, ONE[30:41])]
    if np.float32(values[0]) == np.float32(values[1]):
        runs, values = [(0, 60), (90, 101)], values[1:]
    assert [place[:2] for place in found["chr1"]] == runs
    assert [place[2] for place in found["chr1"]] == pytest.approx(values, rel=1e-5)
    assert [place[:2] for place in found["chr2"]] == [(7, 8)]
    assert found["chr2"][0][2] == pytest.approx(direct("classification", TWO[7])[1], rel=1e-5)
    assert (
        capsys.readouterr().err == "dnamamba: label=root, the second of leaf, root (label= chooses another)\n"
    )


@pytest.mark.parametrize("settings", [{"label": "leaf", "out": "p.bw"}, {"out": "p.tsv"}])
def test_no_label_is_said_to_be_taken_where_one_is_named_or_all_are_written(
    run: Run, capsys: pytest.CaptureFixture[str], settings: dict[str, str]
) -> None:
    run(fasta="g.fa", window=100, **settings)
    assert capsys.readouterr().err == ""


def test_an_alt_that_is_ref_is_not_predicted(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    header = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    ref, other = ONE[99], "A" if ONE[99] != "A" else "C"
    Path("v.vcf").write_text(header + f"chr1\t100\t.\t{ref}\t{ref.lower()},{other}\t.\t.\t.\n")
    found = rows(run(fasta="g.fa", vcf="v.vcf", window=60))
    assert [(row["unscored"], row["difference_root"] == "") for row in found] == [
        ("same_as_ref", True),
        (".", False),
    ]
    assert "1 rows not predicted: same_as_ref" in capsys.readouterr().err


def test_a_vcf_has_both_alleles_and_their_difference(run: Run) -> None:
    header = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    ref = ONE[99]
    alts = ["A" if ref != "A" else "C", "GTTA", "<DEL>"]
    Path("v.vcf").write_text(
        header + f"1\t100\trs1\t{ref}\t{','.join(alts)}\t.\t.\t.\nUn\t5\t.\tA\tC\t.\t.\t.\n"
    )
    found = rows(run(fasta="g.fa", vcf="v.vcf", window=60, regions=RegionsConfig(unknown="skip")))
    assert [(row["chrom"], row["pos"], row["alt"], row["unscored"]) for row in found] == [
        *(("1", "100", alt, reason) for alt, reason in zip(alts, (".", ".", "symbolic"), strict=True)),
        ("Un", "5", "C", "unknown_record"),
    ]
    for row, alt in zip(found[:2], alts, strict=False):
        before, after = ONE[69:99], ONE[100:129]
        one, other = (direct("classification", before + allele + after)[1] for allele in (ref, alt))
        assert [float(row[f"{what}_root"]) for what in ("ref", "alt", "difference")] == pytest.approx(
            [one, other, other - one], rel=1e-4, abs=1e-7
        )
        assert row["predicted_alt"] == ("root" if other > 0.5 else "leaf")
    assert found[2]["alt_root"] == found[3]["predicted_ref"] == ""
    columns = predict_variants(MODELS["classification"], "g.fa", "v.vcf", 60, unknown="skip")
    assert list(columns) == list(found[0])
    assert columns["alt"] == [row["alt"] for row in found]
    assert columns["difference_root"][:2] == pytest.approx(
        [float(row["difference_root"]) for row in found[:2]], rel=1e-12
    )
    assert columns["difference_root"][2:] == [None, None]
    # Of several labels each has its columns: none needs to be named.
    labels = MODELS["multilabel"].decoder.labels
    several = rows(
        run(
            "multilabel",
            fasta="g.fa",
            vcf="v.vcf",
            window=60,
            out="m.csv",
            regions=RegionsConfig(unknown="skip"),
        )
    )
    other = direct("multilabel", ONE[69:99] + alts[0] + ONE[100:129])
    assert [float(several[0][f"alt_{label}"]) for label in labels] == pytest.approx(other, rel=1e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, r"what is to be read: give fasta=FILE; or .* \(got none\)"),
        ({"bed": "r.bed"}, r"what is to be read: .* \(got bed\)"),
        ({"fasta": "g.fa", "labels": "l", "window": 9}, "labels: a table of id and label goes with fasta"),
        ({"table": "t.csv", "labels": "l"}, "labels: a table of id and label goes with fasta"),
        (
            {"fasta": "g.fa", "labels": "l", "bed": "r.bed", "regions": RegionsConfig(label="4")},
            "regions.label: the labels are those of the table",
        ),
        ({"fasta": "g.fa", "labels": "l", "columns": {"sequence": "x"}}, "columns.sequence: `labels` has id"),
        ({"fasta": "g.fa", "columns": {"id": "x"}}, "columns: names columns of `table`"),
        ({"fasta": "g.fa", "regions": RegionsConfig(flank=2)}, "regions: says how bed is read"),
        ({"fasta": "g.fa", "vcf": "v.vcf"}, "window: a vcf needs it"),
        ({"fasta": "g.fa", "evaluate": True}, "evaluate: no labels; give a table"),
        ({"fasta": "g.fa", "evaluate": True, "window": 9}, "evaluate: variants and windows have no labels"),
        ({"fasta": "g.fa", "bed": "r.bed", "evaluate": True}, "evaluate: sequence a is a 'a'; the model's"),
        ({"fasta": "g.fa", "model": "pretrained"}, "pretrained is a pretrained model without a head"),
        ({"fasta": "g.fa", "model": "multilabel", "out": "p.bw"}, "label: the model has cold, heat, salt;"),
        ({"fasta": "g.fa", "label": "leaf"}, r"label: one label is written as bigWig \(got leaf\)"),
        (
            {"fasta": "g.fa", "bed": "r.bed", "out": "p.bw", "regions": RegionsConfig(name="4")},
            r"regions.name: a bigWig has values without names or labels \(got 4\)",
        ),
        ({"fasta": "g.fa", "label": "stem", "out": "p.bw"}, r"label: the model has leaf, root \(got 'ste"),
        ({"fasta": "g.fa", "strand": "up"}, r"decoder.strand: must be forward or both \(got 'up'\)"),
        ({"fasta": "g.fa", "out": "p.xls"}, "out=p.xls: must be a file's name that ends in .tsv or .csv"),
        ({"fasta": "p.fa"}, r"p\.fa: 2 letter\(s\) are not nucleotide codes, the first is 'E' at position 3"),
        ({"fasta": "g.fa", "batch_size": 0}, r"batch_size: must be at least 1 \(got 0\)"),
    ],
)  # fmt: skip
def test_mistake_is_one_line_and_nothing_is_written(run: Run, settings: dict[str, Any], message: str) -> None:
    Path("p.fa").write_text(">a\nACEF\n")
    before = sorted(Path().iterdir())
    with pytest.raises(UserError, match=message) as error:
        run(**settings)
    assert "\n" not in str(error.value)
    left = {path for path in Path().iterdir() if path.suffix not in (".fai", ".gzi")}
    assert left == {path for path in before if path.suffix not in (".fai", ".gzi")}


def test_command_line_finds_missing_files_first(run: Run) -> None:
    from dnamamba.config import composed
    from dnamamba.predict import run as command

    regions = ["bed=a.gtf", "regions.feature=gene", "regions.name=gene_name", "regions.upstream=20"]
    Path("a.gtf").write_text('1\tx\tgene\t101\t200\t.\t+\t.\tgene_id "A"; gene_name "1.10"\n')
    common = ["model=classification", "fasta=g.fa", "device=cpu"]
    command(composed("predict", [*common, *regions, "out=q.tsv", "plugins=[]"]))
    assert [(row["id"], row["start"], row["end"]) for row in rows(Path("q.tsv"))] == [("1.10", "80", "100")]
    with pytest.raises(UserError, match=r"^fasta: no such file, h\.fa; did you mean g\.fa\?$"):
        command(composed("predict", ["model=classification", "fasta=h.fa", "out=x.tsv"]))
    with pytest.raises(UserError, match=r"^model: no model at no/where/here; there is no folder no/where$"):
        command(composed("predict", ["model=no/where/here", "fasta=g.fa", "out=x.tsv"]))
