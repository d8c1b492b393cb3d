"""Time and memory of a block that reads both ways, compared with the causal block and with flipped copies.

    python benchmarks/bidirectional.py --out logs/benchmarks/bidirectional

First the operator's output and gradients are checked against its parts in float64. Then, in bf16 autocast
over fp32 parameters, for each shape and length: a forward without gradients, a training step (forward and
backward), what is kept in between beyond input and output, and the peak. Times are medians by CUDA events, of
blocks in turns. Blocks read two rows per sequence, as those of Caduceus-PS do. Kernels are compiled
beforehand, by processes at once.
"""

import argparse
import csv
import gc
import multiprocessing
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch
from torch import Tensor, nn

from dnamamba.models import LanguageModel, MambaConfig
from dnamamba.models.caduceus.backbone import CaduceusBlock
from dnamamba.models.caduceus.config import CaduceusConfig
from dnamamba.models.mamba.backbone import MambaBlock

SHAPES = {"7.7M": (256, 16), "1.4M": (128, 12)}
POSITIONS = 2**17  # of a batch
HEADER = ["shape", "length", "block", "forward_ms", "step_ms", "kept_mib", "peak_mib"]
HEADER += ["forward_over_causal", "step_over_causal"]


class Flipped(CaduceusBlock):
    """The same from its parts, the second direction by flipped copies."""

    def forward(self, x: Tensor) -> Tensor:
        return x + self.mixer(self.norm(x))


class Causal(MambaBlock):
    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(x)[0]


def blocks(width: int, depth: int) -> dict[str, nn.Module]:
    torch.manual_seed(0)
    config = CaduceusConfig(d_model=width, n_layer=depth)
    operator, flipped = CaduceusBlock(config, "auto"), Flipped(config, "auto")
    flipped.load_state_dict(operator.state_dict())
    causal = Causal(MambaConfig(d_model=width, n_layer=depth), "auto")
    return {"causal": causal.cuda(), "operator": operator.cuda(), "flipped": flipped.cuda()}


def check(width: int, depth: int) -> None:
    """Compare with float64: no output or gradient may err by much more than twice what the parts do.

    By one chunk, and by several. What is not of half precision is for the tests.

    Raises:
        AssertionError: one errs by more.
    """
    for length in (64, 4096):
        made = blocks(width, depth)
        truth = Flipped(CaduceusConfig(d_model=width, n_layer=depth), "chunked").cuda()
        truth.load_state_dict(made["operator"].state_dict())
        x = torch.randn(2, length, width, device="cuda")
        weights = torch.randn_like(x)
        wanted = outcome(truth.double(), x.double(), weights, half=False)
        ours, theirs = (errors(made[name], x, weights, wanted) for name in ("operator", "flipped"))
        print(f"CHECK width {width} length {length}: {max(ours):.2e}, flipped {max(theirs):.2e}", flush=True)
        assert all(a <= 2 * b + 2e-3 for a, b in zip(ours, theirs, strict=True)), (ours, theirs)


def outcome(block: nn.Module, x: Tensor, weights: Tensor, half: bool) -> list[Tensor]:
    """Return the output and all gradients."""
    x = x.clone().requires_grad_()
    with torch.autocast("cuda", torch.bfloat16, enabled=half):
        y = block(x)
    return [y, *torch.autograd.grad((y * weights).sum(), [x, *block.parameters()])]


def errors(block: nn.Module, x: Tensor, weights: Tensor, wanted: list[Tensor]) -> list[float]:
    """Return the relative error in half precision of each of `wanted`."""
    found = outcome(block, x, weights, half=True)
    return [((a.double() - b).norm() / b.norm()).item() for a, b in zip(found, wanted, strict=True)]


def timed(call: Callable[[], object]) -> float:
    """Return milliseconds of one call on the GPU."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    call()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end)


def forward(block: nn.Module, x: Tensor) -> None:
    with torch.no_grad(), torch.autocast("cuda", torch.bfloat16):
        block(x)


def step(block: nn.Module, x: Tensor, dy: Tensor) -> None:
    with torch.autocast("cuda", torch.bfloat16):
        y = block(x)
    torch.autograd.grad(y, [x, *block.parameters()], dy)


def inputs(width: int, power: int) -> Tensor:
    return torch.randn(2 * POSITIONS >> power, 1 << power, width, device="cuda", requires_grad=True)


def compile_kernels(case: tuple[str, str, int, bool]) -> None:
    """Call a block once, forward alone or a step, so that its kernels are in triton's cache."""
    name, shape, power, alone = case
    block, x = blocks(*SHAPES[shape])[name], inputs(SHAPES[shape][0], power)
    if alone:
        forward(block, x)
    else:
        step(block, x, torch.randn_like(x))
    torch.cuda.synchronize()


def measure(made: dict[str, nn.Module], x: Tensor, repeats: int) -> dict[str, list[float]]:
    """Return forward and step milliseconds, kept and peak MiB of each block, timed in turns."""
    dy = torch.randn_like(x)
    found = {name: memory(block, x, dy) for name, block in made.items()}
    laps: dict[str, list[tuple[float, float]]] = {name: [] for name in made}
    for _ in range(repeats + 2):
        for name, block in made.items():
            one = timed(lambda: forward(block, x))  # noqa: B023
            laps[name].append((one, timed(lambda: step(block, x, dy))))  # noqa: B023
    return {
        name: [*(statistics.median(lap[i] for lap in laps[name][2:]) for i in (0, 1)), *found[name]]
        for name in made
    }


def memory(block: nn.Module, x: Tensor, dy: Tensor) -> list[float]:
    """Return MiB kept between forward and backward, beyond input and output, and the peak of both."""
    for _ in range(2):  # the first compiles what is left
        gc.collect()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        with torch.autocast("cuda", torch.bfloat16):
            y = block(x)
        kept = torch.cuda.memory_allocated() - before - y.numel() * y.element_size()
        torch.autograd.grad(y, [x, *block.parameters()], dy)
        peak = torch.cuda.max_memory_allocated() - before
        del y
    return [kept / 2**20, peak / 2**20]


def model_steps(width: int, depth: int, length: int, repeats: int) -> None:
    """Print a training step of whole models: causal on as many rows, Caduceus-PS, and that by copies."""
    for name in ("causal", "operator", "flipped"):
        torch.manual_seed(0)
        family = MambaConfig if name == "causal" else CaduceusConfig
        model = LanguageModel(family(d_model=width, n_layer=depth))
        if name == "flipped":
            for layer in model.backbone.blocks():
                layer.__class__ = Flipped
        model.cuda()
        rows = POSITIONS // length * (2 if name == "causal" else 1)
        tokens = torch.randint(0, 4, (rows, length), dtype=torch.uint8, device="cuda")

        def whole(model: LanguageModel = model, tokens: Tensor = tokens) -> None:
            with torch.autocast("cuda", torch.bfloat16):
                loss = model(tokens).logits.float().logsumexp(-1).mean()
            loss.backward()

        whole()
        torch.cuda.reset_peak_memory_stats()
        laps = [timed(whole) for _ in range(repeats)]
        peak = torch.cuda.max_memory_allocated() / 2**30
        print(
            f"MODEL {width} x {depth}, {length}, {name}: {statistics.median(laps):.2f} ms, {peak:.2f} GiB",
            flush=True,
        )
        del model, whole
        gc.collect()
        torch.cuda.empty_cache()


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the block that reads both ways.")
    parser.add_argument("--out", type=Path, default=Path("logs/benchmarks/bidirectional"))
    parser.add_argument("--powers", type=int, nargs="+", default=[17, 14, 10], help="of lengths")
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    cases = [
        (name, shape, power, alone)
        for alone in (False, True)
        for name in ("operator", "causal")
        for shape, power in (("7.7M", max(args.powers)), ("7.7M", min(args.powers)))
    ]
    with ProcessPoolExecutor(len(cases), multiprocessing.get_context("spawn")) as pool:
        list(pool.map(compile_kernels, cases))
    print(torch.cuda.get_device_name(), torch.__version__)
    print(f"compiled after {time.perf_counter() - began:.0f} s", flush=True)
    for shape in SHAPES.values():
        check(*shape)
    with (args.out / "bidirectional.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*HEADER, "device", "torch"])
        for name, (width, depth) in SHAPES.items():
            made = blocks(width, depth)
            for power in args.powers:
                x = inputs(width, power)
                found = measure(made, x, args.repeats)
                for block, values in found.items():
                    ratios = [values[i] / found["causal"][i] for i in (0, 1)]
                    row = [name, 1 << power, block, *(round(value, 3) for value in (*values, *ratios))]
                    print(*row, flush=True)
                    writer.writerow([*row, torch.cuda.get_device_name(), torch.__version__])
                file.flush()
                del x
                torch.cuda.empty_cache()
    for width, depth in SHAPES.values():
        model_steps(width, depth, 1 << max(args.powers), 3)
    print(f"ended after {time.perf_counter() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
