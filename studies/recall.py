"""How far back does a copy help? recall-bench on models of ours, exact, mutated and reverse-complemented.

    python studies/recall.py MODEL [MODEL ...] --fasta TEST.fa.gz --region X:65876316-69999930 --out FOLDER

A segment of 256 bases stands once in the DNA that no model was trained on, and again after a distance; the
table has the nats per base that the second copy gains over a window whose earlier piece is foreign DNA
(recall-bench's `control="foreign"`), with its 95 % interval over trials. Needs `recall-bench` 0.2.1 (MIT)
from PyPI. Each model and variant has a file of its own: recall-bench takes rows that it finds in a file for
its own, whichever model wrote them.
"""

import argparse
import csv
from pathlib import Path

import recall_bench
import torch
from torch import Tensor

import dnamamba

VARIANTS = {"exact": ("exact", 0.0), "mutated 5 %": ("mutate", 0.05), "mutated 20 %": ("mutate", 0.2)}
VARIANTS["reverse complement"] = ("revcomp", 0.0)
COLUMNS = ("model", "variant", "dist", "ctx", "copy_advantage", "ci_lo", "ci_hi", "n")


def adapter(folder: str, device: str) -> recall_bench.CallableModel:
    """Wrap a model of ours for recall-bench: tokens [1, L] to logits [1, L, V]."""
    model = dnamamba.load(folder).to(device).eval()

    def logits(tokens: Tensor) -> Tensor:
        return model(tokens.to(torch.uint8)).logits

    encode = dnamamba.get_alphabet(model.config.alphabet).encode
    return recall_bench.CallableModel(
        logits, lambda text: encode(text).tolist(), max_ctx=2**21, name=Path(folder).name, device=device
    )


def figure(rows: list[dict[str, object]], path: Path) -> None:
    """Plot nats per base gained against distance: a panel for each variant, a line for each model."""
    from matplotlib.figure import Figure

    variants, models = (list(dict.fromkeys(row[key] for row in rows)) for key in ("variant", "model"))
    picture = Figure(figsize=(3 * len(variants) + 1, 3.4), layout="constrained")
    panels = picture.subplots(1, len(variants), sharey=True, squeeze=False)[0]
    for axes, variant in zip(panels, variants, strict=True):
        for number, model in enumerate(models):
            line = [row for row in rows if (row["model"], row["variant"]) == (model, variant)]
            x, y, low, high = (
                [row[key] for row in line] for key in ("dist", "copy_advantage", "ci_lo", "ci_hi")
            )
            colour = f"C{number}"
            axes.plot(x, y, marker="o", markersize=3, color=colour, label=model)
            axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.axhline(0, color="0.6", linewidth=0.8)
        axes.set_xscale("log", base=2)
        axes.set_title(variant, loc="left", fontsize=9)
        axes.set_xlabel("bases between the copies")
    panels[0].set_ylabel("gain of the second copy, nats per base")
    panels[0].legend(fontsize=7, frameon=False)
    picture.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("models", nargs="+")
    parser.add_argument("--fasta", required=True)
    parser.add_argument("--region", required=True, help="RECORD:START-END, from 0, end exclusive")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument(
        "--distances", type=int, nargs="*", default=[2**n for n in (6, 8, 10, 12, 14, 16, 18)]
    )
    parser.add_argument("--trials", type=int, default=64)
    options = parser.parse_args()
    record, _, ends = options.region.rpartition(":")
    start, end = (int(part) for part in ends.split("-"))
    dna = dnamamba.get_alphabet("dna")
    text = dna.decode(dnamamba.Genome(options.fasta, dna).fetch(record, start, end))
    background = recall_bench.DNABackground.from_strings([text])
    options.out.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, object]] = []
    for folder in options.models:
        model = adapter(folder, options.device)
        for variant, (kind, rate) in VARIANTS.items():
            found = recall_bench.evaluate(
                model,
                options.distances,
                trials=options.trials,
                variant=kind,
                mut_rate=rate,
                control="foreign",
                background=background,
                out=options.out / f"{model.name}_{kind}_{rate:g}.json",
            )
            rows += [{**row, "variant": variant} for row in found if row["status"] == "ok"]
    with (options.out / "recall.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    figure(rows, options.out / "recall.png")


if __name__ == "__main__":
    main()
