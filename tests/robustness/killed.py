"""What is killed: each command in one or more ways, and the small files that they read."""

import gzip
import json
import random
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import ClassVar

import torch

from data_prep.sources import load_sources
from dnamamba import LanguageModel, MambaConfig, SequenceModel, save_model
from dnamamba.data.embedded import YEAST_MODEL
from dnamamba.datasets.labelled import LabelledConfig
from dnamamba.models import DecoderConfig, PositionConfig, PositionModel
from dnamamba.suite import Row, Suite
from dnamamba.training.config import FinetuneTrainConfig

STEPS = [
    *("train.max_steps=6", "train.validate_every=2", "train.checkpoint_every=2", "train.log_every=1"),
    *("train.global_batch_size=4", "data.batch_size=4", "ckpt_path=auto", "hydra.run.dir=run"),
]
SMALL = [*STEPS, "model.d_model=8", "model.n_layer=1"]
BROUGHT = {"fasta": "t.fa.gz", "intervals": "t.bed"}
EMBED = [f"model={YEAST_MODEL}", "fasta=g.fa", "bed=r.bed", "batch_size=4"]
# Overrides by command: a round of kills is of one of its ways, in turn.
COMMANDS = {
    "pretrain": [
        [
            *(*STEPS, "data.fasta=g.fa", "model.d_model=8", "model.n_layer=1", "data.max_length=16"),
            *("data.valid_windows=4", "data.markov_orders=[0]", "data.valid=[b]", "data.test=[c]"),
        ],
        [
            *(*SMALL, "data=induction_heads", "objective=answers", "data.max_length=16"),
            *("data.valid_examples=8", "data.test_examples=8", "data.test_lengths=[8,16,32]"),
        ],
        [*SMALL, "data=bytes", "data.path=text", "data.max_length=16", "data.valid_windows=4"],
        [
            *(*SMALL, "data.fasta=g.fa", "data.max_length=64", "train.chunk_bases=16"),
            *("data.valid_windows=4", "data.markov_orders=[0]", "data.valid=[b]", "data.test=[c]"),
        ],
    ],
    "finetune": [
        [
            *(*STEPS, "model=scratch", "scratch.d_model=8", "scratch.n_layer=1"),
            *("data.table=t.csv", "task.bootstrap=5"),
        ],
        [
            *(*STEPS, "model=small", "data=annotation", "data.fasta=g.fa", "data.annotation=a.gff3"),
            "data.classes=[CDS]",
            *("data.max_length=64", "data.valid_windows=4", "data.valid=[b]", "data.test=[c]"),
            "task.bootstrap=5",
        ],
        [
            *(*STEPS, "model=small", "data=tracks", "data.fasta=g.fa", "data.tracks={signal: s.bedgraph}"),
            *("data.max_length=64", "data.bin_size=8", "data.valid_windows=4", "data.valid=[b]"),
            *("data.test=[c]", "task.bootstrap=5", "task.lora_rank=2"),
        ],
    ],
    "attribute": [
        ["model=small", "fasta=g.fa", "region=a:101-120", "context=32", "out=out.tsv", "bigwig=true"],
        ["model=answers", "fasta=g.fa", "region=a:101-120", "method=gradient", "out=out.csv"],
        ["model=small", "fasta=g.fa", "region=a:101-110", "method=dependency", "out=out.parquet"],
    ],
    "report": [["run=finished"], ["run=finished", "out=out/page.html"]],
    "predict": [
        ["model=answers", "table=t.csv", "out=out.tsv"],
        ["model=answers", "fasta=g.fa", "bed=r.bed", "out=out.parquet"],
        ["model=answers", "fasta=g.fa", "window=100", "out=out.bw"],
        ["model=answers", "fasta=g.fa", "vcf=v.vcf", "window=32", "out=out.csv"],
        ["model=genes", "fasta=g.fa", "out=out.bw"],
        ["model=genes", "fasta=g.fa", "out=out.gff3"],
    ],
    "embed": [[*EMBED, f"out=out.{suffix}"] for suffix in ("npz", "h5", "zarr", "parquet", "csv")],
    "score": [
        ["vcf=v.vcf", "fasta=g.fa", "window=32", "out=out.vcf"],
        ["vcf=v.vcf", "fasta=g.fa", "window=32", "out=out.vcf.gz"],
        ["region=a:101-130", "fasta=g.fa", "window=32", "out=out.tsv"],
    ],
    "tracks": [
        ["model=small", "fasta=g.fa", "out=out.bw", "quantity=both", "strand=both"],
        ["model=small", "fasta=g.fa", "out=out.bw"],
    ],
    "generate": [
        ["model=small", "fasta=g.fa", "length=100", "batch=2", "out=out.fa"],
        ["model=octets", "prompt=abc", "length=100", "out=out.txt"],
    ],
    "export": [["model=small", f"format={layout}", "out=out"] for layout in ("hf", "state_spaces")],
    "benchmark": [[f"name={__name__}.Halves", "model=small", "hydra.run.dir=run"]],
    "plan": [
        ["data.fasta=g.fa", "data.valid=[b]", "data.test=[c]", "data.max_length=64", "plan.device=h100"]
    ],
    "prepare": [["tiny", "--out", "genomes"]],
}


class Halves(Suite):
    """The classes of t.csv, by every protocol."""

    name = "halves"
    metric = "accuracy"
    protocols = ("zero_shot", "probe", "finetune")
    train: ClassVar = FinetuneTrainConfig(
        max_steps=4, global_batch_size=4, validate_every=2, checkpoint_every=2, log_every=1
    )
    bootstrap = 5

    def data(self) -> LabelledConfig:
        """The table that `inputs` writes."""
        return LabelledConfig(table="t.csv", batch_size=8)

    def zero_shot(self, model: LanguageModel, seed: int) -> Row:
        """A number."""
        return Row("zero_shot", "", self.metric, 0.5, 0.25, 0.75, 4)


def only_the_source_at_hand() -> None:
    """Make `prepare` know one genome, whose files were brought from elsewhere: those of `inputs`."""
    from data_prep import download

    download.load_sources = partial(load_sources, Path("sources.toml"))


def inputs(folder: Path) -> None:
    """Write the files that the commands read into an empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    draw = random.Random(3)
    records = {name: "".join(draw.choices("ACGT", k=600)) for name in "abc"}
    (folder / "g.fa").write_text("".join(f">{name}\n{text}\n" for name, text in records.items()))
    rows = [f"{''.join(draw.choices('ACGT' if i % 2 else 'AACGTT', k=30))},{i % 2}x" for i in range(60)]
    (folder / "t.csv").write_text("\n".join(["sequence,label", *rows]) + "\n")
    (folder / "r.bed").write_text("".join(f"{'abc'[i % 3]}\t{10 * i}\t{10 * i + 60}\n" for i in range(40)))
    lines = ["##fileformat=VCFv4.2", "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"]
    for place in range(100, 500, 8):
        ref = records["a"][place - 1]
        lines.append(f"a\t{place}\t.\t{ref}\t{'CGTA'['ACGT'.index(ref)]}\t.\t.\t.")
    (folder / "v.vcf").write_text("\n".join(lines) + "\n")
    lines = ["##gff-version 3"]
    for name in "abc":
        for start in range(21, 541, 120):
            lines.append(
                f"{name}\tx\tCDS\t{start}\t{start + 59}\t.\t{'+-'[start // 120 % 2]}\t0\tID={name}{start}"
            )
    (folder / "a.gff3").write_text("\n".join(lines) + "\n")
    signal = [f"{name}\t{i}\t{i + 20}\t{draw.random():.3f}" for name in "abc" for i in range(0, 600, 20)]
    (folder / "s.bedgraph").write_text("\n".join(signal) + "\n")
    (folder / "text").mkdir()
    for name in "abcd":
        (folder / "text" / f"{name}.txt").write_text("".join(draw.choices("the cat sat ", k=400)))
    _brought(folder, records)
    _finished(folder / "finished")
    torch.manual_seed(0)
    shape = MambaConfig(d_model=8, n_layer=1, d_state=2)
    save_model(LanguageModel(shape), folder / "small")
    save_model(SequenceModel(shape, DecoderConfig("classification", ("0x", "1x"))), folder / "answers")
    genes = PositionConfig("base_classes", ("none", "gene+", "gene-"), (0, 2, 1), 16)
    save_model(PositionModel(shape, genes), folder / "genes")
    save_model(LanguageModel(replace(shape, alphabet="octets", vocab_size=256)), folder / "octets")


def _brought(folder: Path, records: dict[str, str]) -> None:
    """Write what `prepare` finds in its place instead of downloading it, and where it would be from."""
    place = folder / "genomes" / "tiny"
    place.mkdir(parents=True)
    text = "".join(f">{name} x\n{bases * 200}\n" for name, bases in records.items())
    (place / "t.fa.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
    splits = ("train", "valid", "test")
    rows = [f"chr{name}\t0\t512\t{split}" for name, split in zip(records, splits, strict=True)]
    (place / "t.bed").write_text("\n".join(rows) + "\n")
    words = [f'{key} = "x"' for key in ("species", "assembly", "accession", "about", "terms", "citation")]
    files = [f'{{role = "{role}", url = "https://localhost/{name}"}}' for role, name in BROUGHT.items()]
    chromosomes = ["[tiny.chromosomes]", "header = '^(\\w) '", 'required = ["a", "b", "c"]']
    lines = ["[tiny]", *words, f"files = [{', '.join(files)}]", *chromosomes]
    (folder / "sources.toml").write_text("\n".join(lines) + "\n")


def _finished(folder: Path) -> None:
    """Write what a page is made of: a fine-tuning's results and predictions."""
    folder.mkdir()
    scores = {"accuracy": {"value": 0.75, "low": 0.5, "high": 1.0}, "examples": 8}
    results = {"task": "classification", "test": scores, "steps": 4}
    (folder / "metrics.json").write_text(json.dumps(results))
    rows = [f"s{i}\ttest\ta\t{'ab'[i % 2]}\t0.{i + 1}\t0.{9 - i}" for i in range(8)]
    table = "\n".join(["name\tsplit\tlabel\tpredicted\tp_a\tp_b", *rows])
    (folder / "predictions.tsv").write_text(table + "\n")
    (folder / "config.yaml").write_text("train:\n  max_steps: 4\n")
