"""How fast the 1.4M model of the Mamba paper runs on a CPU, and how its memory grows with the length.

    python benchmarks/cpu.py --out logs/benchmarks/cpu

First the model with each backend must agree with the textbook loop, or nothing is timed. Then come bases
a second, forward and training (forward, cross-entropy, backward), for several lengths at the same number of
bases a step: `auto` (compiled, where Numba is installed) and `chunked`, a step of one after a step of the
other, because another program slows both (`--threads 1 --processor-time` counts the time on a core only,
for a machine that is never free); the same for transformers' Mamba where it can be imported; and the
peak memory of a training step of one sequence, each length in a process of its own. Tables go to the
terminal, everything goes to OUT/cpu.csv and OUT/cpu.png.
"""

import argparse
import csv
import platform
import resource
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from datetime import date
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnamamba import LanguageModel, MambaConfig
from dnamamba.kernels import resolve

CONFIG = MambaConfig(d_model=128, n_layer=12, vocab_size=8)


class Row(NamedTuple):
    """One measurement."""

    model: str
    quantity: str
    batch: int
    length: int
    value: float
    unit: str


def tokens(batch: int, length: int) -> Tensor:
    return torch.randint(0, 4, (batch, length), generator=torch.Generator().manual_seed(0))


def train_step(model: nn.Module, bases: Tensor) -> None:
    """Run forward, next-base cross-entropy and backward."""
    logits = model(bases).logits
    F.cross_entropy(logits[:, :-1].flatten(0, 1), bases[:, 1:].flatten()).backward()
    model.zero_grad(set_to_none=True)


def infer_step(model: nn.Module, bases: Tensor) -> None:
    with torch.no_grad():
        model(bases)


def require_agreement(backend: str, length: int = 200, limit: float = 1e-5) -> None:
    """Exit unless the model's logits and gradients are those of the textbook loop."""
    torch.manual_seed(0)
    truth, model = (
        LanguageModel(CONFIG, backend="reference").double(),
        LanguageModel(CONFIG, backend=backend),
    )
    model.load_state_dict(truth.state_dict())
    bases = tokens(2, length)
    results = []
    for each in (model, truth):
        logits = each(bases).logits
        F.cross_entropy(logits[:, :-1].flatten(0, 1), bases[:, 1:].flatten()).backward()
        results.append([logits.detach(), *(p.grad for p in each.parameters())])
    worst = max(float((a - b).norm() / b.norm()) for a, b in zip(*results, strict=True))
    print(f"{backend}: agreement with the fp64 loop, worst of logits and gradients: {worst:.1e}")
    if not worst < limit:
        sys.exit(f"the {backend} backend is off by {worst:.1e}, more than {limit:.0e}: no times are shown")


def bases_a_second(
    step: Callable[[nn.Module, Tensor], None],
    models: dict[str, nn.Module],
    bases: Tensor,
    repeats: int,
    clock: Callable[[], float],
) -> dict[str, float]:
    """Return the medians over `repeats`, the models taking turns, after one step each to warm up."""
    times: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(repeats + 1):
        for name, model in models.items():
            start = clock()
            step(model, bases)
            times[name].append(clock() - start)
    return {name: bases.numel() / statistics.median(taken[1:] or taken) for name, taken in times.items()}


def measure_speed(
    models: dict[str, nn.Module],
    shapes: Iterable[tuple[int, int]],
    repeats: int,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Row]:
    rows = []
    for batch, length in shapes:
        bases = tokens(batch, length)
        for quantity, step in (("forward", infer_step), ("training", train_step)):
            speeds = bases_a_second(step, models, bases, repeats, clock)
            rows += [Row(name, quantity, batch, length, each, "bases/s") for name, each in speeds.items()]
            first, *others = speeds.values()
            print(
                f"{batch:5d} x {length:<7d} {quantity:9s}"
                + "".join(f"{name} {each:9,.0f}   " for name, each in speeds.items())
                + "".join(f"ratio {first / other:.2f}" for other in others)
            )
    return rows


def transformers_model() -> nn.Module:
    """Build the same sizes in transformers, whose loop is PyTorch's where its CUDA kernels are missing."""
    from transformers import MambaConfig as PeerConfig
    from transformers import MambaForCausalLM, logging

    logging.set_verbosity_error()
    config = PeerConfig(
        vocab_size=CONFIG.padded_vocab_size,
        hidden_size=CONFIG.d_model,
        num_hidden_layers=CONFIG.n_layer,
        state_size=CONFIG.d_state,
        conv_kernel=CONFIG.d_conv,
        expand=CONFIG.expand,
        tie_word_embeddings=True,
        use_cache=False,
    )
    return MambaForCausalLM(config)


def lines_of(path: str) -> list[str]:
    """Return the lines of a file of Linux, none elsewhere."""
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def resident_peak() -> float:
    """Return peak resident memory of this process in MiB."""
    for line in lines_of("/proc/self/status"):
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 2**10
    # On Linux this would count what the parent process held before it started this one.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def print_memory_of_one_step(length: int, backend: str) -> None:
    """Print the MiB that a training step of one sequence adds to a model that has taken a short one."""
    model = LanguageModel(CONFIG, backend=backend)
    train_step(model, tokens(1, 64))
    before = resident_peak()
    train_step(model, tokens(1, length))
    print(resident_peak() - before)


def measure_memory(backend: str, lengths: Iterable[int], threads: int) -> list[Row]:
    rows = []
    for length in lengths:
        command = [sys.executable, __file__, "--threads", str(threads), "--backend", backend]
        command += ["--memory-of", str(length)]
        answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        rows.append(Row(backend, "peak memory", 1, length, float(answer), "MiB"))
        memory = rows[-1].value
        print(
            f"{backend}: training step of 1 x {length:<7d} {memory:8,.0f} MiB"
            f"{memory * 1024 / length:8.1f} KiB a base"
        )
    return rows


def surroundings() -> dict[str, str]:
    """Return versions and processor, without which a time means nothing."""
    names = [
        line.split(":")[1].strip() for line in lines_of("/proc/cpuinfo") if line.startswith("model name")
    ]
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True
    )
    return {
        "date": date.today().isoformat(),
        "commit": commit.stdout.strip() or "unknown",
        "device": names[0] if names else platform.processor() or platform.machine(),
        "threads": str(torch.get_num_threads()),
        "python": platform.python_version(),
        "torch": version("torch"),
        "numba": version("numba") if find_spec("numba") else "",
        "transformers": version("transformers") if find_spec("transformers") else "",
    }


def write_table(path: Path, rows: list[Row], around: dict[str, str]) -> None:
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow([*around, *Row._fields])
        table.writerows([*around.values(), *row._replace(value=round(row.value, 1))] for row in rows)


def draw(path: Path, rows: list[Row], around: dict[str, str]) -> None:
    from matplotlib import pyplot as plt

    figure, (speed, memory) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    series = sorted({(row.model, row.quantity) for row in rows if row.unit == "bases/s"})
    for model, quantity in series:
        points = [(row.length, row.value) for row in rows if (row.model, row.quantity) == (model, quantity)]
        speed.plot(*zip(*points, strict=True), "o-", label=f"{model}, {quantity}")
    speed.set(yscale="log", ylabel="bases a second")
    for model in dict.fromkeys(row.model for row in rows if row.quantity == "peak memory"):
        points = [
            (row.length, row.value / 2**10)
            for row in rows
            if (row.model, row.quantity) == (model, "peak memory")
        ]
        length, size = points[-1]
        (drawn,) = memory.plot(*zip(*points, strict=True), "o", label=f"one training step, {model}")
        memory.plot([0, length], [0, size], "--", color=drawn.get_color())
        memory.set(ylabel="peak memory (GiB)")
    for axes in (speed, memory):
        axes.set(xlabel="length (bases)")
        axes.legend()
    speed.set_xscale("log", base=2)
    figure.suptitle(f"1.4M model, {around['device']}, {around['threads']} threads, torch {around['torch']}")
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out", type=Path, default=Path("logs/benchmarks/cpu"), help="folder for cpu.csv and cpu.png"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--bases", type=int, default=8192, help="bases a step, the same at every length")
    parser.add_argument("--lengths", type=int, nargs="*", default=[256, 512, 1024, 2048, 4096, 8192])
    parser.add_argument("--memory-lengths", type=int, nargs="*", default=[2**k for k in range(12, 17)])
    parser.add_argument("--no-transformers", action="store_true", help="leave out a comparison of minutes")
    parser.add_argument("--backend", default="auto", help="compared with chunked")
    parser.add_argument("--processor-time", action="store_true", help="of all threads, in place of a clock's")
    parser.add_argument("--memory-of", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.memory_of:
        print_memory_of_one_step(options.memory_of, options.backend)
        return

    around = surroundings()
    print(", ".join(f"{name} {value}" for name, value in around.items() if value))
    backend = resolve(options.backend, torch.device("cpu"), torch.float32)
    backends = list(dict.fromkeys([backend, "chunked"]))
    for name in backends:
        require_agreement(name)
    shapes = [(max(1, options.bases // length), length) for length in options.lengths]
    models: dict[str, nn.Module] = {name: LanguageModel(CONFIG, backend=name) for name in backends}
    clock = time.process_time if options.processor_time else time.perf_counter
    rows = measure_speed(models, shapes, options.repeats, clock)
    if find_spec("transformers") and not options.no_transformers:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            rows += measure_speed({"transformers": transformers_model()}, [(1, 1024)], repeats=1)
    for name in backends:
        rows += measure_memory(name, options.memory_lengths, options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    write_table(options.out / "cpu.csv", rows, around)
    draw(options.out / "cpu.png", rows, around)
    print(f"wrote {options.out / 'cpu.csv'} and {options.out / 'cpu.png'}")


if __name__ == "__main__":
    main()
