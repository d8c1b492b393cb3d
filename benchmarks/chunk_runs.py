"""Time and memory of pretraining runs by chunks, with and without CUDA graphs, compared with whole steps.

    python benchmarks/chunk_runs.py --out logs/benchmarks/chunk_runs

Each run takes some steps on windows of random bases, one window per step, as `python -m dnamamba.pretrain
trainer=gpu` would. Time is that of `train/bases_per_second`, the median over the steps after the first three;
it includes loading and all that Lightning does. Losses must be those of the run that reads windows whole, to
bf16's rounding, and with graphs those of the run without; else no times are printed.
"""

import argparse
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tables import write_table

from dnamamba import GenomeConfig, MambaConfig, Pretraining, TrainConfig, TrainerConfig

MODELS = {"1.4M": (128, 12), "40.7M": (512, 24)}


@dataclass(frozen=True)
class Case:
    """A run: a chunk, None for whole windows, and whether it is read by graphs."""

    chunk: int | None
    graphs: bool = False


def write_genome(folder: Path, length: int) -> Path:
    """Write three records of random bases: for training, validation and test."""
    draw = np.random.default_rng(0)
    path = folder / "random.fa"
    with path.open("w") as file:
        for name in ("one", "two", "three"):
            file.write(f">{name}\n{''.join(draw.choice(list('ACGT'), length + 10))}\n")
    return path


def steps_of(case: Case, model: str, genome: Path, length: int, steps: int, folder: Path) -> dict:
    """Return losses, milliseconds per step, and GiB: allocated, and held by torch."""
    width, depth = MODELS[model]
    run = Pretraining(
        folder,
        data=GenomeConfig(
            fasta=str(genome), valid=["two"], test=["three"], max_length=length, batch_size=1,
            valid_windows=1, markov_orders=[],
        ),
        model=MambaConfig(d_model=width, n_layer=depth),
        train=TrainConfig(
            max_steps=steps, global_batch_size=1, log_every=1, validate_every=steps, checkpoint_every=steps,
            chunk_bases=case.chunk, chunk_graphs=case.graphs, learning_rate=1e-3,
        ),
        trainer=TrainerConfig(accelerator="cuda", precision="bf16-mixed"),
        quiet=True,
    )  # fmt: skip
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    done = run.run()
    assert done is not None
    speeds = [row["train/bases_per_second"] for row in done.history if "train/bases_per_second" in row][2:]
    return {
        "losses": [row["train/loss"] for row in done.history if "train/loss" in row],
        "step_ms": 1000 * length / statistics.median(speeds),
        "peak_gib": torch.cuda.max_memory_allocated() / 2**30,
        "held_gib": torch.cuda.max_memory_reserved() / 2**30,
    }


def furthest(found: list[float], expected: list[float]) -> float:
    """Return the largest relative difference of two runs' losses."""
    return max(abs(a - b) / abs(b) for a, b in zip(found, expected, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=MODELS, default="1.4M")
    parser.add_argument("--length", type=int, default=2**20)
    parser.add_argument("--chunks", nargs="+", type=int, default=[2**18, 2**16])
    parser.add_argument("--steps", type=int, default=9)
    parser.add_argument("--out", type=Path, default=Path("logs/benchmarks/chunk_runs"))
    options = parser.parse_args()
    cases = [Case(None), *(Case(chunk, graphs) for chunk in options.chunks for graphs in (False, True))]
    rows: list[dict[str, object]] = []
    known: dict[Case, dict] = {}
    with tempfile.TemporaryDirectory() as place:
        genome = write_genome(Path(place), options.length)
        for number, case in enumerate(cases):
            found = steps_of(
                case, options.model, genome, options.length, options.steps, Path(place) / str(number)
            )
            known[case] = found
            rounding = furthest(found["losses"], known[cases[0]]["losses"])
            without = furthest(found["losses"], known.get(Case(case.chunk), found)["losses"])
            if rounding > 1e-3 or without > 1e-4:
                sys.exit(f"{case}: losses are off by {rounding:.1e}, by graphs {without:.1e}: no times")
            whole = known[cases[0]]["step_ms"]
            rows.append(
                {
                    "model": options.model,
                    "length": options.length,
                    "chunk": case.chunk or "whole",
                    "graphs": case.graphs,
                    "step_ms": round(found["step_ms"], 1),
                    "over_whole": round(found["step_ms"] / whole, 3),
                    "peak_gib": round(found["peak_gib"], 3),
                    "held_gib": round(found["held_gib"], 3),
                    "loss_off_whole": f"{rounding:.1e}",
                    "loss_off_without_graphs": f"{without:.1e}",
                    "device": torch.cuda.get_device_name(),
                    "torch": torch.__version__,
                }
            )
            print(*rows[-1].values(), sep="  ", flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / f"{options.model}_{options.length}.csv"
    write_table(rows, path)
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
