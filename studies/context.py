"""How much context helps a trained model: bits per base of the same bases, in windows of many lengths.

    python studies/context.py --fasta GENOME.fa.gz --intervals GENOME.bed --out logs/context RUN [RUN ...]

Every base of a split is a target once at every length, so the numbers of a row differ by context alone.
A table, context_SPLIT.csv and context_SPLIT.png.
"""

import argparse
import csv
import math
from collections.abc import Iterable
from pathlib import Path

import torch
import torch.nn.functional as F
from matplotlib.figure import Figure

from dnamamba import Genome, LanguageModel, get_alphabet
from dnamamba.data.hg38 import read_split_intervals
from dnamamba.data.intervals import Interval, joined
from dnamamba.data.sampling import gather, record_names, tiled_windows
from dnamamba.inference.device import load_on, precision_of
from dnamamba.objectives.next_base import IGNORED, targets_of
from dnamamba.reports.figures import save_figure

LENGTHS = [2**power for power in range(8, 21, 2)]
BASES_AT_A_TIME = 2**20


@torch.inference_mode()
def bits_per_base(model: LanguageModel, genome: Genome, intervals: Iterable[Interval], length: int) -> float:
    """Return the bits per base of the intervals in windows of `length`; their first bases do not count."""
    device = model.backbone.embedding.weight.device
    scored = torch.from_numpy(genome.alphabet.scored.copy()).to(device)
    names, tiles = record_names(intervals), tiled_windows(intervals, length)
    rows = max(1, BASES_AT_A_TIME // length)
    nats, bases = torch.zeros((), dtype=torch.float64, device=device), 0
    for first in range(0, tiles.start.size, rows):
        tokens = torch.from_numpy(gather(genome, names, tiles.take(slice(first, first + rows)), length))
        tokens = tokens.to(device)
        with precision_of(model, "auto"):
            logits = model(tokens[:, :-1]).logits
        targets = targets_of(tokens, scored)
        loss = F.cross_entropy(
            logits.float().flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum"
        )
        nats += loss
        bases += int((targets != IGNORED).sum())
    return float(nats) / bases / math.log(2)


def picture(rows: dict[str, list[float]], lengths: list[int], split: str, path: Path) -> None:
    figure = Figure(figsize=(7, 4.4), layout="constrained")
    axes = figure.subplots()
    for name, values in rows.items():
        axes.semilogx(lengths, values, base=2, marker="o", label=name)
    axes.set(
        xlabel="bases of a window",
        ylabel="bits per base",
        title=f"All of {split}, in windows of growing length",
    )
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    save_figure(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--fasta", required=True)
    parser.add_argument("--intervals", required=True)
    parser.add_argument("--split", default="test", choices=("valid", "test"))
    parser.add_argument("--out", type=Path, default=Path("logs/context"))
    parser.add_argument("--longest", type=int, default=LENGTHS[-1])
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    genome = Genome(args.fasta, get_alphabet("dna"))
    held_out = getattr(read_split_intervals(args.intervals, genome.lengths), args.split)
    intervals = joined(sorted(held_out))
    lengths = [length for length in LENGTHS if length <= args.longest]
    rows: dict[str, list[float]] = {}
    for path in args.models:
        model = load_on(path, "auto")
        name = path.absolute().parent.name if path.name == "model" else path.name
        assert name not in rows, f"two models called {name}"
        rows[name] = [bits_per_base(model, genome, intervals, length) for length in lengths]
        print(f"{name:16s}", *(f"{value:.4f}" for value in rows[name]), flush=True)
    with (args.out / f"context_{args.split}.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["model", *lengths])
        writer.writerows([name, *(f"{value:.5f}" for value in values)] for name, values in rows.items())
    picture(rows, lengths, args.split, args.out / f"context_{args.split}.png")


if __name__ == "__main__":
    main()
