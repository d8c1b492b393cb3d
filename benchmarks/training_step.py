"""Time and memory of whole training steps on the GPU at hand.

    python benchmarks/training_step.py --out logs/benchmarks/training_step

A step is forward, next-base cross-entropy, backward and fused AdamW, bf16 autocast over fp32 parameters. Each
row is the median of a few steps, and the peak of memory that torch had handed out.
"""

import argparse
import csv
from pathlib import Path

import torch
import torch.nn.functional as F
from timing import median_by_events

from dnamamba.models import LanguageModel, MambaConfig

MODELS = {"1.4M": (128, 12), "7M": (256, 16)}
CASES = [("1.4M", 1024, 2**10), ("1.4M", 8, 2**17), ("1.4M", 1, 2**20), ("7M", 1, 2**19)]
GROWTH = [("1.4M", 1, 2**k) for k in range(16, 20)]


def measure(
    name: str, batch: int, length: int, checkpointing: bool, steps: int
) -> tuple[float, float, float]:
    """Return milliseconds and peak GiB of a training step, and milliseconds of a forward pass."""
    torch.manual_seed(0)
    width, depth = MODELS[name]
    model = LanguageModel(MambaConfig(d_model=width, n_layer=depth, vocab_size=8)).cuda()
    model.backbone.activation_checkpointing = checkpointing
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    tokens = torch.randint(0, 4, (batch, length + 1), device="cuda", dtype=torch.uint8)

    def forward() -> torch.Tensor:
        with torch.autocast("cuda", torch.bfloat16):
            return model(tokens[:, :-1]).logits

    def step() -> None:
        F.cross_entropy(forward().float().flatten(0, 1), tokens[:, 1:].long().flatten()).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def inference() -> None:
        with torch.no_grad():
            forward()

    times = []
    for call in (step, inference):
        call()
        torch.cuda.reset_peak_memory_stats()
        times += [median_by_events(call, steps), torch.cuda.max_memory_allocated() / 2**30]
    return times[0], times[1], times[2]


def main() -> None:
    parser = argparse.ArgumentParser(description="Time training steps.")
    parser.add_argument("--out", type=Path, default=Path("logs/benchmarks/training_step"))
    parser.add_argument("--steps", type=int, default=5)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    header = [
        "model",
        "batch",
        "length",
        "checkpointing",
        "step_ms",
        "peak_gib",
        "forward_ms",
        "device",
        "torch",
    ]
    rows = []
    for checkpointing in (False, True):
        for name, batch, length in CASES + GROWTH:
            values = measure(name, batch, length, checkpointing, args.steps)
            rows.append([name, batch, length, checkpointing, *(round(v, 2) for v in values)])
            print(*rows[-1], flush=True)
            torch.cuda.empty_cache()
    with (args.out / "training_step.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows([*row, torch.cuda.get_device_name(), torch.__version__] for row in rows)


if __name__ == "__main__":
    main()
