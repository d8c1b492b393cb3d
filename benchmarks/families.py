"""Time and memory of all families at one size, against length.

    python benchmarks/families.py --out logs/benchmarks/families
    python benchmarks/families.py --device cpu --bases 1024 --powers 8 10 --out logs/benchmarks/families_cpu

A step is forward, the family's own objective, backward and AdamW, in bf16 autocast over fp32 parameters
(fp32 on a CPU). Each row is the median of a few, and the peak of memory that torch had handed out. Leaves
families.csv and families.png.
"""

import argparse
import csv
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from timing import median_of

from dnamamba.models import LanguageModel, MambaConfig, ModelConfig
from dnamamba.models.caduceus.config import CaduceusConfig
from dnamamba.models.hyena.config import HyenaConfig
from dnamamba.models.transformer.config import TransformerConfig
from dnamamba.objectives.base import Batch
from dnamamba.objectives.masked import MaskedBases
from dnamamba.objectives.next_base import NextBase

FAMILIES: dict[str, ModelConfig] = {
    "mamba": MambaConfig(d_model=256, n_layer=16),
    "caduceus_ph": CaduceusConfig(d_model=256, n_layer=16, equivariant=False),
    "caduceus_ps": CaduceusConfig(d_model=256, n_layer=16),
    "transformer": TransformerConfig(d_model=256, n_layer=8),
    "hyena": HyenaConfig(d_model=256, n_layer=8, max_length=1),  # set to each row's length
}
HEADER = ["family", "parameters", "batch", "length", "step_ms", "step_gib", "forward_ms", "forward_gib"]


def measure(config: ModelConfig, batch: int, length: int, device: str, repeats: int) -> list[float]:
    """Return parameters, time and memory of a training step, and of a forward pass without gradients."""
    torch.manual_seed(0)
    model = LanguageModel(config).to(device)
    objective = (NextBase if model.backbone.causal else MaskedBases)(config).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=device == "cuda")
    tokens = torch.randint(0, 4, (batch, length + 1), dtype=torch.uint8, device=device)
    given: Batch = {"tokens": tokens, "index": torch.arange(batch, device=device)}
    cast = torch.autocast("cuda", torch.bfloat16) if device == "cuda" else nullcontext()

    def step() -> None:
        with cast:
            loss = objective.loss_sum(model, given) / objective.number_of_targets(given)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def forward() -> None:
        with torch.no_grad(), cast:
            model(tokens[:, :-1])

    size = sum(parameter.numel() for parameter in model.parameters())
    return [size, *median_of(step, device, repeats), *median_of(forward, device, repeats)]


def draw(table: Path, picture: Path) -> None:
    """Draw time and memory of a training step against length."""
    with table.open() as file:
        rows = [row for row in csv.DictReader(file) if row["step_ms"] != "does not fit"]
    figure, axes = plt.subplots(1, 2, figsize=(8.4, 3.2))
    for ax, column, label in zip(axes, ("step_ms", "step_gib"), ("ms", "GiB"), strict=True):
        for name in FAMILIES:
            points = sorted((int(row["length"]), float(row[column])) for row in rows if row["family"] == name)
            ax.plot([length for length, _ in points], [value for _, value in points], marker="o", label=name)
        ax.set_xscale("log", base=2)
        ax.set_yscale("log")
        ax.set_xlabel("bases of a sequence")
        ax.set_ylabel(f"training step, {label}")
    axes[0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(picture, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description="Time all families at one size.")
    parser.add_argument("--out", type=Path, default=Path("logs/benchmarks/families"))
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--bases", type=int, default=2**17, help="of a batch")
    parser.add_argument("--powers", type=int, nargs="+", default=[10, 12, 14, 16, 17], help="of lengths")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    device = torch.cuda.get_device_name() if args.device == "cuda" else "cpu"
    with (args.out / "families.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*HEADER, "device", "torch"])
        for power in args.powers:
            for name, shape in FAMILIES.items():
                batch, length = args.bases >> power, 1 << power
                config = shape
                if isinstance(shape, HyenaConfig):
                    config = replace(shape, max_length=length)
                try:
                    values = [
                        round(value, 2) for value in measure(config, batch, length, args.device, args.repeats)
                    ]
                except torch.cuda.OutOfMemoryError:
                    values = ["does not fit"] * 5  # type: ignore[list-item]
                size, *measured = values
                row = [name, size, batch, length, *measured]
                print(*row, flush=True)
                writer.writerow([*row, device, torch.__version__])
                file.flush()
                if args.device == "cuda":
                    torch.cuda.empty_cache()
    if args.device == "cuda":
        draw(args.out / "families.csv", args.out / "families.png")


if __name__ == "__main__":
    main()
