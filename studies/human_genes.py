"""Exons, introns and splice sites of human genes, base by base: does a longer training window help?

    python studies/human_genes.py prepare TRANSCRIPTS CHR20.fa.gz CHRX.fa.gz --out human_genes
    python studies/human_genes.py baselines --data human_genes --out logs/human_genes
    python studies/human_genes.py run 10=docs/models/human_1m4_2p10 17=docs/models/human_1m4_2p17 \\
        --data human_genes --out logs/human_genes
    python studies/human_genes.py report --out logs/human_genes

TRANSCRIPTS is a table as `studies/aligned_sets.py` reads it, or the wheel spliceai 1.3.1, which holds
GENCODE V24 on GRCh37 (`annotations/grch37.txt`, one transcript per gene, GPL; nothing of it is in this
package). Training is chromosome 20. Held out are parts of chromosome X: for validation 63.8 to 65.9 Mb, for
the test 65.9 to 70 Mb, which the pretraining of docs/human_h200.md did not read either, and 46.5 to 49.2 Mb,
which has many genes and which the pretraining read, without their annotation.

`run` fine-tunes each LOG2_LENGTH=MODEL on the same number of bases, per step and in all; runs that are there
are not run again. `baselines` needs no GPU. `report` makes results.csv and f1.png of what is there.
"""

import argparse
import csv
import json
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
import torch
from aligned_sets import DNA, Transcript, letters_of, transcripts
from matplotlib.figure import Figure

from dnamamba import FinetuneTrainConfig, Finetuning, TrainerConfig
from dnamamba.data.fasta import Genome
from dnamamba.datasets.annotation import AnnotationConfig, AnnotationData
from dnamamba.objectives.positions import PositionsScored
from dnamamba.objectives.task_config import TaskConfig
from dnamamba.reports.figures import save_figure
from dnamamba.reports.positions import resample, scores
from dnamamba.terminal import Console
from dnamamba.training.position_baselines import class_baselines
from dnamamba.training.tuned import Pooling

REGIONS = {
    "train": ("20", 0, 63_025_520),
    "valid": ("X", 63_800_000, 65_876_316),
    "test": ("X", 65_876_316, 69_999_930),
    "test_read": ("X", 46_500_000, 49_200_000),
}
CLASSES = ["donor", "acceptor", "exon", "intron"]
SAMPLES = 500  # bootstrap draws
LINE = 80
COLUMNS = ("model", "log2_length", "label", "bases", "precision", "recall", "f1", "auprc", "low", "high")


def region(found: list[Transcript], chromosome: str, start: int, end: int) -> tuple[int, int]:
    """Return a region's ends moved inwards until they cut no transcript in two."""
    spans = sorted((one.start, one.end) for one in found if one.chromosome == chromosome)
    for first, last in spans:
        start = last if first < start < last else start
    for first, last in reversed(spans):
        end = first if first < end < last else end
    return start, end


def bed_row(name: str, offset: int, one: Transcript) -> str:
    """Return a transcript as a row of a BED with blocks, its exons; 0-based within the region."""
    sizes = "".join(f"{end - start}," for start, end in one.exons)
    starts = "".join(f"{start - one.start}," for start, _ in one.exons)
    first, last = one.start - offset, one.end - offset
    row = (name, first, last, "gene", 0, one.strand, first, first, 0, len(one.exons), sizes, starts)
    return "\t".join(map(str, row)) + "\n"


def prepare(table: Path, fasta: list[Path], folder: Path, most: int | None) -> None:
    """Write regions.fa, genes.bed, and say how many introns begin with GT and end with AG.

    Args:
        table: of transcripts.
        fasta: the chromosomes.
        folder: takes both files.
        most: cut regions to so many bases, for a trial.
    """
    chromosomes = {}
    for path in fasta:
        genome = Genome(path, DNA)
        chromosomes |= {name.removeprefix("chr"): genome.fetch(name) for name in genome.names}
    found = transcripts(table, set(chromosomes))
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "regions.fa").open("w") as bases, (folder / "genes.bed").open("w") as genes:
        for name, (chromosome, start, end) in REGIONS.items():
            start, end = region(found, chromosome, start, end if most is None else min(end, start + most))
            inside = [one for one in found if one.chromosome == chromosome and start <= one.start < end]
            text = DNA.decode(chromosomes[chromosome][start:end]).upper()
            bases.write(f">{name} {chromosome}:{start}-{end}\n")
            bases.writelines(text[place : place + LINE] + "\n" for place in range(0, len(text), LINE))
            genes.writelines(bed_row(name, start, one) for one in inside)
            sites = list(splice_letters(chromosomes[chromosome], inside))
            right = sum(letters == {"donor": "GT", "acceptor": "AG"}[label] for label, letters in sites)
            place = f"{name}: {chromosome}:{start:,}-{end:,}, {len(inside)} genes"
            print(f"{place}, {len(sites)} splice sites, of which GT or AG: {right}")
            if right < 0.9 * len(sites):
                raise SystemExit(f"{table}: splice sites are not GT and AG; is it of another assembly?")


def splice_letters(ids: np.ndarray, found: list[Transcript]) -> Iterator[tuple[str, str]]:
    """Yield each `donor` and `acceptor` with the two bases that begin or end its intron."""
    for one in found:
        for label, place in one.junctions():
            behind = (label == "donor") == (one.strand == "+")
            yield label, letters_of(ids[place : place + 2] if behind else ids[place - 2 : place], one.strand)


def data_of(folder: Path, length: int, bases_per_step: int) -> AnnotationConfig:
    """Return the data at one length of training windows."""
    return AnnotationConfig(
        fasta=str(folder / "regions.fa"),
        annotation=str(folder / "genes.bed"),
        classes=CLASSES,
        chain=False,
        alphabet="dna",
        max_length=length,
        batch_size=max(1, bases_per_step // length),
        valid=["valid"],
        test=["test", "test_read"],
        valid_windows=max(1, (1 << 20) // length),
        num_workers=0,
    )


def run(log2: int, model: str, options: argparse.Namespace) -> Path:
    """Fine-tune at windows of 2^log2 bases, unless it is done; returns the run's folder."""
    folder = options.out / f"{Path(model).name}_at_2p{log2}"
    if (folder / "metrics.json").is_file():
        return folder
    steps = max(2, options.bases // options.bases_per_step)
    data = data_of(options.data, 1 << log2, options.bases_per_step)
    train = FinetuneTrainConfig(
        max_steps=steps,
        global_batch_size=max(1, options.bases_per_step >> log2),
        learning_rate=options.rate,
        validate_every=max(1, steps // 4),
        checkpoint_every=steps,
    )
    gpu = options.accelerator == "gpu"
    trainer = TrainerConfig(options.accelerator, precision="bf16-mixed" if gpu else "32-true")
    task = TaskConfig(class_weights=options.weights, baselines=False, bootstrap=SAMPLES)
    pooling = Pooling(context="both", conv=2)
    Finetuning(folder, data, model, pooling, task, train=train, trainer=trainer, quiet=True).run()
    return folder


def baselines(options: argparse.Namespace) -> None:
    """Fit the simple models of `data=annotation` to the same bases; writes baselines.json."""
    config = data_of(options.data, 1 << 10, 1 << 10)
    data = config.build(0, global_batch_size=1, max_steps=1, world_size=1)
    head = data.question("both", 2).head
    console, found = Console(), {}
    kept = {split: _targets(data, split) for split in ("valid", "test")}
    for one in class_baselines(data, head, console):
        found[one.name] = dict(one.settings)
        for split, (sizes, targets) in kept.items():
            scored = PositionsScored(list(range(len(sizes))), sizes, one.logits[split], targets)
            draws = resample(head, scored, SAMPLES) if split == "test" else {}
            found[one.name][split] = scores(head, scored, draws)
        print(one.name, f"F1 {found[one.name]['test']['f1']['value']:.4f}", flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "baselines.json").write_text(json.dumps(found, indent=2) + "\n")


def _targets(data: AnnotationData, split: str) -> tuple[list[int], torch.Tensor]:
    """Return the sizes of a split's records, and the classes of their bases one after the other."""
    parts = [data.targets.of(one.name, one.start, one.length) for one in data.intervals(split)]
    return [len(part) for part in parts], torch.from_numpy(np.concatenate(parts))


def rows_of(name: str, log2: int | str, test: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a row per class, both strands averaged, and one of all: macro F1 with its interval."""
    rows = []
    for label in ("none", *CLASSES):
        own = [one for one in test["per_label"] if one["label"].rstrip("+-") == label]
        row: dict[str, Any] = {"model": name, "log2_length": log2, "label": label}
        row["bases"] = sum(one["bases"] for one in own)
        for key in ("precision", "recall", "f1", "auprc"):
            # A class that is never predicted has no precision; the other strand's alone would flatter.
            row[key] = sum(one[key] or 0.0 for one in own) / len(own)
        rows.append(row)
    whole = test["f1"]
    total = {"model": name, "log2_length": log2, "label": "all", "bases": test["positions"]}
    values = {
        "f1": whole["value"],
        "auprc": test["auprc"]["value"],
        "low": whole["low"],
        "high": whole["high"],
    }
    rows.append(total | values)
    return rows


def report(out: Path) -> None:
    """Write results.csv and f1.png, and print the table."""
    rows: list[dict[str, Any]] = []
    if (out / "baselines.json").is_file():
        for name, found in json.loads((out / "baselines.json").read_text()).items():
            rows += rows_of(name, "", found["test"])
    for path in sorted(out.glob("*_at_2p*/metrics.json")):
        name, _, log2 = path.parent.name.rpartition("_at_2p")
        rows += rows_of(name, int(log2), json.loads(path.read_text())["test"])
    with (out / "results.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            plain = {key: f"{v:.4f}" if isinstance(v, float) else v for key, v in row.items()}
            writer.writerow(plain)
            print(*(plain.get(key, "") for key in COLUMNS), sep="\t")
    save_figure(figure(rows), out / "f1.png")


def figure(rows: list[dict[str, Any]]) -> Figure:
    """Plot F1 of each class against the length of training windows, with the baselines as lines."""
    made = Figure(figsize=(11, 3.2), layout="constrained")
    axes = made.subplots(1, len(CLASSES) + 1)
    for place, label in zip(axes, [*CLASSES, "all"], strict=True):
        own = [row for row in rows if row["label"] == label]
        for name in dict.fromkeys(row["model"] for row in own):
            points = [(row["log2_length"], row["f1"]) for row in own if row["model"] == name]
            if points[0][0] == "":
                place.axhline(points[0][1], linestyle=":", label=name, color=f"C{5 + len(place.lines) % 4}")
            else:
                place.plot(*zip(*sorted(points), strict=True), marker="o", label=name)
        place.set(title="mean of all" if label == "all" else label, ylim=(0, None))
        place.set_xlabel("log2 of window")
    axes[0].set_ylabel("F1 on the test")
    made.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    made = commands.add_parser("prepare")
    made.add_argument("transcripts", type=Path)
    made.add_argument("fasta", type=Path, nargs="+")
    made.add_argument("--most", type=int, help="bases of a region, for a trial")
    for name in ("baselines", "run", "report"):
        command = commands.add_parser(name)
        command.add_argument("--out", type=Path, required=True)
        if name != "report":
            command.add_argument("--data", type=Path, required=True)
        if name == "run":
            command.add_argument("cells", nargs="+", metavar="LOG2_LENGTH=MODEL")
            command.add_argument("--accelerator", default="gpu")
            command.add_argument(
                "--bases", type=int, default=128 << 18, help="of a run, default: %(default)s"
            )
            command.add_argument("--bases-per-step", type=int, default=1 << 18, help="default: %(default)s")
            command.add_argument("--rate", type=float, default=4e-3, help="default: %(default)s")
            command.add_argument("--weights", default="root", help="of classes, default: %(default)s")
            command.add_argument("--jobs", type=int, default=1, help="runs at a time, default: %(default)s")
    made.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    if options.command == "prepare":
        prepare(options.transcripts, options.fasta, options.out, options.most)
    elif options.command == "baselines":
        baselines(options)
    elif options.command == "report":
        report(options.out)
    else:
        os.environ.setdefault("OMP_NUM_THREADS", "2")
        cells = [(int(log2), model) for log2, model in (text.split("=", 1) for text in options.cells)]
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(options.jobs, mp_context=context) as pool:
            for done in as_completed([pool.submit(run, log2, model, options) for log2, model in cells]):
                failed = done.exception()
                print(f"failed: {failed}" if failed else f"done: {done.result()}", flush=True)
                report(options.out)


if __name__ == "__main__":
    main()
