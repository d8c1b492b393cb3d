"""Time and memory of a training step against the length of its sequence: whole, and by chunks of three sizes.

    python benchmarks/chunk_lengths.py --device cuda --out logs/benchmarks/chunk_lengths
    python benchmarks/chunk_lengths.py --device cpu --out logs/benchmarks/chunk_lengths
    python benchmarks/chunk_lengths.py --draw CSV [CSV ...]

A step is that of benchmarks/chunks.py: on a GPU of the 1.4M model, with chunks as CUDA graphs where runs take
them by default; on a CPU of the 66k model of `experiment=yeast_chromosomes`. Time on a CPU is what the
processor worked, in a process of its own per point and a single step; on a GPU, the median of three. Memory
is what a step adds on a CPU, and what torch held on a GPU. Where mamba_ssm can be imported, a whole step of
its model of the same shape is a line too. Lengths end where a series would take longer than a minute a step
or more than the device has.
"""

import argparse
import csv
import subprocess
import sys
import time
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

import torch
from chunks import (
    MODELS,
    WHOLE,
    Part,
    add_gradients,
    build,
    cross_entropy,
    measure_gpu,
    random_bases,
)
from cpu import resident_peak
from timing import median_by_events

from dnamamba.planning.cost import graphs_pay

MODELS["66k"] = (64, 2)
PEER = -1
SERIES = {
    "cuda": ("1.4M", {WHOLE: (16, 22), 2**18: (18, 24), 2**17: (17, 24), 2**16: (16, 23)}),
    "cpu": ("66k", {WHOLE: (12, 18), 2**14: (14, 18), 2**12: (12, 18), 2**10: (10, 17)}),
}


def name_of(chunk: int) -> str:
    if chunk == PEER:
        return "mamba_ssm, whole"
    return "whole" if chunk == WHOLE else f"chunks of 2^{chunk.bit_length() - 1}"


def print_cpu_step(model: str, length: int, chunk: int) -> None:
    """Print processor seconds of a step, and the GiB that it adds to a process that has taken a short one."""
    network = build(model, "cpu")
    add_gradients(network, random_bases(64, "cpu"), WHOLE)
    network.zero_grad()
    tokens = random_bases(length, "cpu")
    before, began = resident_peak(), time.process_time()
    add_gradients(network, tokens, chunk)
    print(time.process_time() - began, (resident_peak() - before) / 2**10)


def cpu_step(model: str, length: int, chunk: int) -> tuple[float, float]:
    """Measure the same on a CPU, in a process of its own."""
    command = [sys.executable, __file__, "--one-step", model, str(length), str(chunk)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    seconds, gibibytes = map(float, answer.split())
    return seconds, gibibytes


def gpu_step(model: str, length: int, chunk: int) -> tuple[float, float]:
    """Return the seconds of a step, and the GiB that torch held."""
    if chunk == PEER:
        return peer_step(model, length)
    graphs = chunk not in (WHOLE, length) and graphs_pay(chunk, MODELS[model][0])
    milliseconds, _, held = measure_gpu(Part(model, length, (), 3), chunk, graphs)
    return milliseconds / 1000, held


def peer_step(model: str, length: int) -> tuple[float, float]:
    """Time a whole step of mamba_ssm's model of the same shape."""
    from mamba_ssm.models.config_mamba import MambaConfig
    from mamba_ssm.models.mixer_seq_simple import MambaLMHeadModel

    width, depth = MODELS[model]
    network = MambaLMHeadModel(MambaConfig(d_model=width, n_layer=depth, vocab_size=8), device="cuda")
    tokens = random_bases(length, "cuda").long()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        with torch.autocast("cuda", torch.bfloat16):
            loss = cross_entropy(network(tokens[:, :-1]).logits, tokens[:, 1:]) / length
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    step()
    torch.cuda.reset_peak_memory_stats()
    return median_by_events(step, 3) / 1000, torch.cuda.max_memory_reserved() / 2**30


def measured(device: str) -> Iterable[dict[str, object]]:
    """Yield rows as they are measured."""
    model, series = SERIES[device]
    if device == "cuda" and find_spec("mamba_ssm") is not None:
        series = {**series, PEER: (16, 20)}
    what = torch.cuda.get_device_name() if device == "cuda" else "CPU, 1 thread, processor seconds"
    for chunk, (first, last) in series.items():
        for power in range(first, last + 1):
            step = cpu_step if device == "cpu" else gpu_step
            try:
                seconds, gibibytes = step(model, 2**power, chunk)
            except torch.OutOfMemoryError:
                break
            finally:
                if device == "cuda":
                    torch.cuda.empty_cache()
            row = {
                "model": model,
                "length": 2**power,
                "series": name_of(chunk),
                "seconds": round(seconds, 4),
                "gib": round(gibibytes, 4),
                "device": what,
                "torch": torch.__version__,
            }
            print(*row.values(), sep="  ", flush=True)
            yield row


def draw(paths: list[Path], out: Path) -> None:
    """Draw time and memory against length, a row of panels per file."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        len(paths), 2, figsize=(9, 3.6 * len(paths)), squeeze=False, layout="constrained"
    )
    for path, (left, right) in zip(paths, axes, strict=True):
        rows = list(csv.DictReader(path.read_text().splitlines()))
        for series in dict.fromkeys(row["series"] for row in rows):
            points = [row for row in rows if row["series"] == series]
            lengths = [int(row["length"]) for row in points]
            style = {"marker": "o", "markersize": 4, "linestyle": "-" if "chunks" in series else "--"}
            left.plot(lengths, [float(row["seconds"]) for row in points], label=series, **style)
            right.plot(lengths, [float(row["gib"]) for row in points], label=series, **style)
        for axis, unit in ((left, "seconds per step"), (right, "GiB")):
            axis.set(
                xlabel="bases of the sequence", ylabel=unit, title=f"{rows[0]['model']}, {rows[0]['device']}"
            )
            axis.set_xscale("log", base=2)
            axis.set_yscale("log", base=10)
            axis.grid(alpha=0.3)
        left.legend(fontsize=8)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=150)
    print(f"wrote {out}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=SERIES, default="cpu")
    parser.add_argument("--draw", nargs="+", type=Path, metavar="CSV")
    parser.add_argument("--out", type=Path, default=Path("logs/benchmarks/chunk_lengths"))
    parser.add_argument("--one-step", nargs=3, metavar=("MODEL", "LENGTH", "CHUNK"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one_step:
        torch.set_num_threads(1)
        print_cpu_step(options.one_step[0], *map(int, options.one_step[1:]))
        return
    if options.draw:
        draw(options.draw, options.out / "chunk_lengths.png")
        return
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / f"{options.device}.csv"
    with path.open("w", newline="") as file:
        table = None
        for row in measured(options.device):
            table = table or csv.DictWriter(file, row)
            if file.tell() == 0:
                table.writeheader()
            table.writerow(row)
            file.flush()
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
