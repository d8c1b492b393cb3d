"""A folder in which the pages' commands and Python find the files that they name, and runs to read."""

import gzip
import re
import shutil
from pathlib import Path

import numpy as np
import pyBigWig
import torch

import dnamamba
from dnamamba.objectives.task_config import TaskConfig

RECORDS = {"chrI": 6_000, "chrV": 102_000, "chr1": 4_000, "chr8": 2_000, "chr9": 2_000, "chr20": 50_000}
PRETRAINED = ("RUN", "logs/pretrain/runs/<time>")
FINE_TUNED = ("FT", "logs/finetune/runs/<time>", "logs/finetune/runs/mine")
SMALL = dnamamba.MambaConfig(d_model=16, n_layer=2, d_state=4)


def make(folder: Path) -> None:
    """Write a genome, its genes, regions, signal, variants and a table, and train a model in both ways.

    What a page calls by another name is linked to one of these by `given`.
    """
    rng = np.random.default_rng(0)
    letters = {name: "".join(rng.choice(list("ACGT"), length)) for name, length in RECORDS.items()}
    # Variants of docs/variants.md and docs/prediction.md name what stands there.
    letters["chrI"] = letters["chrI"][:1543] + "A" + letters["chrI"][1544:]
    letters["chr1"] = letters["chr1"][:99] + "A" + letters["chr1"][100:]
    text = "".join(f">{name}\n{sequence}\n" for name, sequence in letters.items())
    (folder / "genome.fa").write_text(text)
    (folder / "genome.fa.gz").write_bytes(gzip.compress(text.encode()))
    (folder / "small.fa").write_text(
        "".join(f">s{i}\n{letters['chr1'][i * 40 : i * 40 + 40]}\n" for i in range(4))
    )
    places = [(name, start) for name in ("chrI", "chr8", "chr9", "chr1") for start in range(100, 1_800, 300)]
    genes, regions = ["##gff-version 3"], []
    for number, (name, start) in enumerate(places):
        strand, label = "+-"[number % 2], ("leaf", "root")[number // 2 % 2]
        about = f"ID=g{number};Name=g{number};biotype={label}"
        rows = [("gene", 0, 120, about), ("mRNA", 0, 120, f"ID=t{number};Parent=g{number}")]
        for first, last in ((0, 48), (72, 120)):
            rows += [(feature, first, last, f"Parent=t{number}") for feature in ("exon", "CDS")]
        for feature, first, last, note in rows:
            phase = "0" if feature == "CDS" else "."
            ends = f"{start + first + 1}\t{start + last}"
            genes.append(f"{name}\tx\t{feature}\t{ends}\t.\t{strand}\t{phase}\t{note}")
        regions.append(f"{name}\t{start}\t{start + 60}\t{label}\t0\t{strand}\t{label}")
    (folder / "genes.gff3").write_text("\n".join(genes) + "\n")
    (folder / "genes.bed").write_text("\n".join(regions) + "\n")
    (folder / "signal.bedgraph.gz").write_bytes(
        gzip.compress(
            "".join(f"{name}\t{start}\t{start + 60}\t{start % 7}\n" for name, start in places).encode()
        )
    )
    with pyBigWig.open(str(folder / "signal.bw"), "w") as file:
        file.addHeader(list({name: RECORDS[name] for name, _ in places}.items()))
        names, starts = map(list, zip(*places, strict=True))
        ends = [start + 60 for start in starts]
        file.addEntries(names, starts, ends=ends, values=[float(start % 7) for start in starts])
    variants = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    variants += "chr1\t100\tv\tA\tG\t.\t.\t.\n"
    (folder / "variants.vcf").write_text(variants)
    (folder / "variants.vcf.gz").write_bytes(gzip.compress(variants.encode()))
    rows = []
    for i in range(60):
        label, number = ("leaf", "root")[i % 2], f"{i % 5}.5"
        rows.append(
            f"{letters['chr1'][i * 30 : i * 30 + 30]},{label},{number},{label},{number},{number},{label}\n"
        )
    (folder / "table.csv").write_text("sequence,label,expression,Organ,leaf,root,tissue\n" + "".join(rows))
    (folder / "my_texts").mkdir()
    (folder / "my_texts" / "a.txt").write_text("It was a dark and stormy night. " * 200)
    torch.manual_seed(0)
    model = dnamamba.LanguageModel(SMALL)
    torch.nn.init.normal_(model.backbone.embedding.weight, std=0.1)
    dnamamba.save_model(model, folder / "pretrained")
    train = dnamamba.FinetuneTrainConfig(max_steps=2, global_batch_size=4, validate_every=2, log_every=1)
    dnamamba.Finetuning(
        folder / "tuned",
        dnamamba.LabelledConfig(table=str(folder / "table.csv"), batch_size=4),
        model,
        task=TaskConfig(baselines=False, bootstrap=10),
        train=train,
        quiet=True,
    ).run()
    for names, made in ((PRETRAINED, "pretrained"), (FINE_TUNED, "tuned")):
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).symlink_to(folder / made)


# What a file's name ends with, and what stands for it.
STANDS: dict[str, str] = {
    r"(new|other|my)\.fa": "small.fa",
    r"\.fa": "genome.fa",
    r"\.fa\.gz": "genome.fa.gz",
    r"\.bed": "genes.bed",
    r"\.gff3": "genes.gff3",
    r"\.vcf": "variants.vcf",
    r"\.vcf\.gz": "variants.vcf.gz",
    r"\.csv": "table.csv",
    r"\.bedgraph\.gz": "signal.bedgraph.gz",
    r"\.bw": "signal.bw",
}


def given(folder: Path, words: list[str]) -> None:
    """Put files where the words of a command expect them."""
    for word in words:
        key, _, value = word.rpartition("=")
        if key in ("out", "hydra.run.dir"):
            continue
        for name in re.findall(r"[\w./]+", value):
            for ending, stands in STANDS.items():
                if re.search(rf"{ending}$", name) and not (folder / name).exists():
                    (folder / name).parent.mkdir(parents=True, exist_ok=True)
                    (folder / name).symlink_to(folder / stands)


def copy(home: Path, folder: Path) -> None:
    """Give a page a folder of its own, so that what its commands write is its own."""
    shutil.copytree(home, folder, symlinks=True)
    for names, made in ((PRETRAINED, "pretrained"), (FINE_TUNED, "tuned")):
        for name in names:
            (folder / name).unlink()
            (folder / name).symlink_to(folder / made)
