"""Time and memory of a training step by chunks, compared with the whole step in the same run.

    python benchmarks/chunks.py --parts 1m4_2p20 40m7_2p20 --out logs/benchmarks/chunks      # on a GPU
    python benchmarks/chunks.py --parts cpu_2p16 --out logs/benchmarks/chunks                # on a CPU

A step is forward, next-base cross-entropy and backward of one sequence of random bases; on a GPU under bf16
autocast over fp32 parameters, with fused AdamW, and with `--graphs` also by CUDA graphs of chunks. Before
anything is timed, gradients by chunks must be as near to those of a more exact whole step (fp32 on a GPU,
fp64 on a CPU) as the whole step itself is. Every row is the median of some steps after one to warm up (on a
CPU, one step), and the peak of memory: on a GPU what torch had handed out, and all that it held (the memory
of graphs counts only there), on a CPU what a process of its own grew by. What the device can't hold has no
numbers. Each part takes less than ten minutes on one H100.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from cpu import resident_peak
from tables import write_table
from timing import median_by_events
from torch import Tensor

from dnamamba.models import LanguageModel, MambaConfig
from dnamamba.objectives.base import Chunks
from dnamamba.training.chunk_graphs import ChunkGraphs
from dnamamba.training.chunks import chunked_backward

MODELS = {"1.4M": (128, 12), "7M": (256, 16), "40.7M": (512, 24)}
WHOLE = 0


class Part(NamedTuple):
    """Steps to measure: a model, a length, chunks (`WHOLE` for the whole step) and steps per chunk."""

    model: str
    length: int
    chunks: tuple[int, ...]
    steps: int


PARTS = {
    "1m4_2p20": Part("1.4M", 2**20, (WHOLE, 2**19, 2**18, 2**17, 2**16), 5),
    "1m4_2p22": Part("1.4M", 2**22, (WHOLE, 2**18, 2**17, 2**16), 3),
    "1m4_2p24": Part("1.4M", 2**24, (2**18, 2**17), 2),
    "1m4_2p27": Part("1.4M", 2**27, (2**18,), 2),
    "7m_2p20": Part("7M", 2**20, (WHOLE, 2**18, 2**17, 2**16), 3),
    "40m7_2p18": Part("40.7M", 2**18, (WHOLE, 2**17, 2**16, 2**15), 3),
    "40m7_2p20": Part("40.7M", 2**20, (2**17, 2**16), 3),
    "cpu_2p14": Part("1.4M", 2**14, (WHOLE, 2**13, 2**12, 2**11), 1),
    "cpu_2p16": Part("1.4M", 2**16, (WHOLE, 2**14, 2**12, 2**11), 1),
}


def build(name: str, device: str) -> LanguageModel:
    torch.manual_seed(0)
    width, depth = MODELS[name]
    return LanguageModel(MambaConfig(d_model=width, n_layer=depth, vocab_size=8)).to(device)


def random_bases(length: int, device: str) -> Tensor:
    """Return random bases, uint8 [1, length + 1]."""
    generator = torch.Generator(device).manual_seed(1)
    return torch.randint(0, 4, (1, length + 1), generator=generator, device=device, dtype=torch.uint8)


def cross_entropy(logits: Tensor, bases: Tensor) -> Tensor:
    classes, targets = logits.float().flatten(0, 1), bases.long().flatten()
    return F.cross_entropy(classes, targets, reduction="sum")


def add_gradients(model: LanguageModel, tokens: Tensor, chunk: int, autocast: bool = True) -> Tensor:
    """Run forward and backward of the mean loss over a sequence, and return the loss."""
    inputs, targets = tokens[:, :-1], tokens[:, 1:]
    with torch.autocast("cuda", torch.bfloat16, enabled=autocast and tokens.is_cuda):
        if chunk != WHOLE:
            *sums, after = chunks_of(model, tokens)
            return chunked_backward(*sums[:2], chunk, *sums[2:], after=after)
        loss = cross_entropy(model(inputs).logits, targets) / targets.numel()
    loss.backward()
    return loss.detach()


def chunks_of(model: LanguageModel, tokens: Tensor) -> Chunks:
    """Return the mean loss over a sequence as a sum over chunks."""
    targets = tokens[:, 1:]
    bases = targets.numel()

    def mean_loss(logits: Tensor, part: Tensor) -> Tensor:
        return cross_entropy(logits, part) / bases

    return Chunks(model, tokens[:, :-1], lambda span: targets[:, span], mean_loss, None, model.after)


def graphs_of(model: LanguageModel, tokens: Tensor, chunk: int) -> Callable[[], Tensor]:
    """Return the same function by CUDA graphs of a chunk."""
    graphs, chunks = ChunkGraphs(chunk), chunks_of(model, tokens)

    def add() -> Tensor:
        with torch.autocast("cuda", torch.bfloat16):
            return graphs(chunks)

    return add


def results_of(
    model: LanguageModel, tokens: Tensor, chunk: int, autocast: bool = True, graphs: bool = False
) -> list[Tensor]:
    """Return the loss and every parameter's gradient."""
    loss = graphs_of(model, tokens, chunk)() if graphs else add_gradients(model, tokens, chunk, autocast)
    gradients = [parameter.grad for parameter in model.parameters()]
    model.zero_grad(set_to_none=True)
    return [loss, *(gradient for gradient in gradients if gradient is not None)]


def require_agreement(name: str, device: str, graphs: bool) -> None:
    """Exit unless gradients by chunks are as near to a more exact whole step as the whole step itself is."""
    on_gpu = device == "cuda"
    length, chunk = (2**16, 2**14) if on_gpu else (700, 64)
    model, tokens = build(name, device), random_bases(length, device)
    exact = model if on_gpu else build(name, device).double()
    truth = results_of(exact, tokens, WHOLE, autocast=False)
    found = [results_of(model, tokens, cut) for cut in (WHOLE, chunk, length // 3)]
    if graphs:
        found.append(results_of(model, tokens, chunk, graphs=True))
    rounding, *chunks = ([relative(a, b) for a, b in zip(each, truth, strict=True)] for each in found)
    print(f"{name}: worst error of loss and gradients: whole {max(rounding):.1e}, "
          f"by chunks {max(map(max, chunks)):.1e}")  # fmt: skip
    floor = 1e-4 if on_gpu else 1e-6
    for errors in chunks:
        for error, budget in zip(errors, rounding, strict=True):
            if not error < 2 * budget + floor:
                sys.exit(f"{name}: chunks are off by {error:.1e}, the whole step by {budget:.1e}: no times")


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found.double() - expected.double()).norm() / expected.double().norm())


def measure_gpu(part: Part, chunk: int, graphs: bool) -> tuple[float, float, float]:
    """Return the median milliseconds of a step, its peak GiB, and the GiB that torch held then."""
    model, tokens = build(part.model, "cuda"), random_bases(part.length, "cuda")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    add = graphs_of(model, tokens, chunk) if graphs else lambda: add_gradients(model, tokens, chunk)

    def step() -> None:
        add()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    step()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    milliseconds = median_by_events(step, part.steps)
    return milliseconds, torch.cuda.max_memory_allocated() / 2**30, torch.cuda.max_memory_reserved() / 2**30


def print_one_cpu_step(part: Part, chunk: int) -> None:
    """Print milliseconds of a step and the GiB that it adds to a process that has taken a short one."""
    model = build(part.model, "cpu")
    add_gradients(model, random_bases(64, "cpu"), WHOLE)
    model.zero_grad()
    tokens = random_bases(part.length, "cpu")
    before, laps = resident_peak(), []
    for _ in range(part.steps):
        start = time.perf_counter()
        add_gradients(model, tokens, chunk)
        laps.append(time.perf_counter() - start)
    print(1000 * statistics.median(laps), (resident_peak() - before) / 2**10)


def measure_cpu(name: str, chunk: int, threads: int) -> tuple[float, float, float]:
    """Measure milliseconds and GiB in a process of its own."""
    command = [sys.executable, __file__, "--threads", str(threads), "--one-step", name, str(chunk)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    milliseconds, gibibytes = map(float, answer.split())
    return milliseconds, gibibytes, gibibytes


def measure(name: str, threads: int, graphs: bool) -> list[dict[str, object]]:
    """Print and return the rows of a part."""
    part, rows = PARTS[name], []
    on_cpu = name.startswith("cpu")
    require_agreement(part.model, "cpu" if on_cpu else "cuda", graphs)
    whole = float("nan")
    cases = [(chunk, False) for chunk in part.chunks]
    if graphs:
        cases += [(chunk, True) for chunk in part.chunks if chunk != WHOLE]
    for chunk, graphed in cases:
        try:
            measured = measure_cpu(name, chunk, threads) if on_cpu else measure_gpu(part, chunk, graphed)
        except torch.OutOfMemoryError:
            measured = (float("nan"),) * 3
        milliseconds, gibibytes, held = measured
        whole = milliseconds if chunk == WHOLE else whole
        rows.append(
            {
                "part": name,
                "model": part.model,
                "length": part.length,
                "chunk": chunk or "whole",
                "graphs": graphed,
                "step_ms": round(milliseconds, 1),
                "over_whole": round(milliseconds / whole, 3),
                "peak_gib": round(gibibytes, 3),
                "held_gib": round(held, 3),
                "device": f"CPU, {threads} threads" if on_cpu else torch.cuda.get_device_name(),
                "torch": torch.__version__,
            }
        )
        print(*rows[-1].values(), sep="  ", flush=True)
        if not on_cpu:
            torch.cuda.empty_cache()
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=["1m4_2p20"])
    parser.add_argument("--threads", type=int, default=1, help="of the CPU parts")
    parser.add_argument("--graphs", action="store_true", help="also time CUDA graphs of chunks")
    parser.add_argument("--out", type=Path, default=Path("logs/benchmarks/chunks"))
    parser.add_argument("--one-step", nargs=2, metavar=("PART", "CHUNK"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.graphs and any(name.startswith("cpu") for name in options.parts):
        parser.error("--graphs: CUDA graphs need a GPU; leave the cpu parts out")
    torch.set_num_threads(options.threads)
    if options.one_step:
        name, chunk = options.one_step
        print_one_cpu_step(PARTS[name], int(chunk))
        return
    rows = [row for name in options.parts for row in measure(name, options.threads, options.graphs)]
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / f"{'+'.join(options.parts)}.csv"
    write_table(rows, path)
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
