"""Training steps and forward passes of four sizes at three lengths, with Mamba-1, Mamba-2 and Mamba-3.

    python benchmarks/widths.py --out logs/benchmarks/widths
    python benchmarks/widths.py --models 1.4M --lengths 1024 65536 --peers "Mamba-2, N = 16"

Of each size a model of ours and, where mamba_ssm can be imported, its models with Mamba-1 (N = 16; its CUDA
scan must be built), Mamba-2 (N = 16 and 64) and Mamba-3 (N = 64): bf16 autocast over fp32 parameters,
next-base cross-entropy, fused AdamW; medians, in one run. Where causal-conv1d is missing, Mamba-2's fused
path gets our convolution in its place, and the table says so: without one it would take torch's. Its backward
copies our gradient once, which causal-conv1d's would write in place: some percent of Mamba-2's step.

First our kernels must agree with the textbook loop, our model with the same from its parts, and the fused
path of Mamba-2 with its own parts, or nothing is timed. Writes widths.csv and widths.png into OUT; a cell
that does not fit the memory has no time, a peer that fails has its reason instead, and nothing is begun after
--seconds, or after an illegal access to memory, which takes the GPU from the process. Mamba-2 comes first,
the other peers when all its cells are done.
"""

import argparse
import sys
import time
import types
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from kernels import gate
from tables import write_table
from timing import median_by_events
from torch import Tensor, nn

from dnamamba.kernels.causal_conv1d.triton_op import convolve, convolve_backward
from dnamamba.models import LanguageModel, MambaConfig

SIZES = {"1.4M": (128, 12), "7M": (256, 16), "19.3M": (384, 20), "40.7M": (512, 24)}
LENGTHS = (2**10, 2**16, 2**20)
LEAST = 2**18  # bases of a step: shorter sequences come as a batch
PEERS: dict[str, dict[str, Any]] = {
    "Mamba-1": {"layer": "Mamba1"},
    "Mamba-2, N = 16": {"layer": "Mamba2", "d_state": 16},
    "Mamba-2, N = 64": {"layer": "Mamba2", "d_state": 64},
    "Mamba-3, N = 64": {"layer": "Mamba3", "d_state": 64},
}
LAST = ("Mamba-1", "Mamba-3, N = 64")  # of the peers, as far as time allows
MEASURED = ("step_ms", "step_gib", "forward_ms", "forward_gib")
Rows = list[dict[str, object]]


def lend_convolution() -> bool:
    """Put our convolution where mamba_ssm imports causal-conv1d's from, if that is not installed.

    Returns:
        Whether it was put there.
    """
    if find_spec("causal_conv1d") is not None:
        return False

    def forward(x, weight, bias, index, first, last, silu):  # type: ignore[no-untyped-def]
        return convolve(x.mT, weight, bias, None, None, silu).mT

    def backward(x, weight, bias, dy, index, first, dlast, dx, wants, silu):  # type: ignore[no-untyped-def]
        du, dweight, dbias, _ = convolve_backward(dy.mT, x.mT, weight, bias, None, None, silu)
        return du.mT, dweight, dbias, None

    package, functions = types.ModuleType("causal_conv1d"), types.ModuleType("causal_conv1d.cpp_functions")
    # Whoever asks whether the package is there looks for its spec.
    package.__spec__ = ModuleSpec(package.__name__, None)
    # Without causal_conv1d_fn the path that is not fused takes torch's convolution.
    vars(package).update(causal_conv1d_fn=None, causal_conv1d_update=None)
    vars(functions).update(
        causal_conv1d_fwd_function=forward,
        causal_conv1d_bwd_function=backward,
        causal_conv1d_update_function=None,
    )
    sys.modules |= {"causal_conv1d": package, "causal_conv1d.cpp_functions": functions}
    return True


def ours(size: str) -> nn.Module:
    width, depth = SIZES[size]
    return LanguageModel(MambaConfig(d_model=width, n_layer=depth, vocab_size=8)).cuda()


def peer(size: str, layer: dict[str, Any]) -> nn.Module:
    """Return mamba_ssm's language model of this size, with its fused norm and residual in fp32."""
    from mamba_ssm.models.config_mamba import MambaConfig as PeerConfig
    from mamba_ssm.models.mixer_seq_simple import MambaLMHeadModel

    width, depth = SIZES[size]
    third = layer["layer"] == "Mamba3"
    config = PeerConfig(
        d_model=width, n_layer=depth, vocab_size=8, ssm_cfg={"layer": "Mamba2"} if third else dict(layer),
        rms_norm=True, residual_in_fp32=True, fused_add_norm=True, pad_vocab_size_multiple=8,
    )  # fmt: skip
    model = MambaLMHeadModel(config, device="cuda")
    if third:
        from mamba_ssm.modules.mamba3 import Mamba3

        # Its language model of release 2.3 takes layers of the first two kinds alone.
        for block in model.backbone.layers:
            block.mixer = Mamba3(width, d_state=layer["d_state"], device="cuda")
    return model


def check(peers: bool) -> None:
    """Exit unless what is timed computes what it should."""
    gate()
    models = [
        LanguageModel(MambaConfig(d_model=64, n_layer=2), backend=backend).cuda()
        for backend in ("triton", "chunked")
    ]
    models[1].load_state_dict(models[0].state_dict())
    tokens = torch.randint(0, 4, (2, 300), device="cuda", dtype=torch.uint8)
    found = []
    for model in models:
        logits = model(tokens).logits
        found.append([logits, *torch.autograd.grad(logits.sin().sum(), list(model.parameters()))])
    require("our model and its parts", *found, most=2e-4)
    if not peers:
        return
    from mamba_ssm.modules.mamba2 import Mamba2

    torch.manual_seed(0)
    block = Mamba2(128, d_state=16).cuda()
    x = torch.randn(2, 600, 128, device="cuda")
    found = []
    for block.use_mem_eff_path in (True, False):
        with torch.autocast("cuda", torch.bfloat16):
            y = block(x)
        weight = torch.linspace(-1, 1, y.numel(), device="cuda").view_as(y)
        given = [block.in_proj.weight, block.conv1d.weight, block.conv1d.bias]
        found.append([y, *torch.autograd.grad((y * weight).sum(), given)])
    require("Mamba-2's fused path and its parts", *found, most=3e-2)


def require(what: str, some: list[Tensor], others: list[Tensor], most: float) -> None:
    worst = max(float((a - b).norm() / b.norm()) for a, b in zip(some, others, strict=True))
    if not worst < most:
        raise SystemExit(f"{what} differ by {worst:.1e}: nothing was timed")


def measure(make: Callable[[], nn.Module], batch: int, length: int, steps: int) -> dict[str, float | None]:
    """Return milliseconds and peak GiB of a training step and of a forward pass; None: no memory for it."""
    result: dict[str, float | None] = dict.fromkeys(MEASURED)
    torch.manual_seed(0)
    torch.cuda.empty_cache()
    model = make()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    tokens = torch.randint(0, 4, (batch, length + 1), device="cuda")

    def forward() -> Tensor:
        with torch.autocast("cuda", torch.bfloat16):
            logits: Tensor = model(tokens[:, :-1]).logits
        return logits

    def step() -> None:
        F.cross_entropy(forward().float().flatten(0, 1), tokens[:, 1:].flatten()).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def inference() -> None:
        with torch.no_grad():
            forward()

    for name, call in (("forward", inference), ("step", step)):
        try:
            call()
            torch.cuda.reset_peak_memory_stats()
            milliseconds = median_by_events(call, steps)
        except torch.OutOfMemoryError:
            optimizer.zero_grad(set_to_none=True)
            continue
        result[f"{name}_ms"] = round(milliseconds, 2)
        result[f"{name}_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
    return result


def kinds(size: str) -> dict[str, Callable[[], nn.Module]]:
    """Return how each model of this size is made, ours first."""
    makers: dict[str, Callable[[], nn.Module]] = {"dnamamba": lambda: ours(size)}
    if find_spec("mamba_ssm") is None:
        return makers
    present = {
        "Mamba1": find_spec("selective_scan_cuda") is not None,
        "Mamba2": True,
        "Mamba3": find_spec("mamba_ssm.modules.mamba3") is not None,
    }
    for name, layer in PEERS.items():
        if present[layer["layer"]]:
            makers[name] = lambda layer=layer: peer(size, layer)  # type: ignore[misc]
    return makers


def picture(rows: Rows, path: Path) -> None:
    """Draw each model's time and memory as a multiple of ours: above 1 it is behind us."""
    from matplotlib.figure import Figure

    from dnamamba.reports.figures import save_figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    panels = figure.subplots(3, 1, sharex=True)
    cells = list(dict.fromkeys((row["model"], row["length"]) for row in rows))
    timed = dict.fromkeys(row["kind"] for row in rows if row["forward_ms"])
    names = [name for name in timed if name != "dnamamba"]
    titles = {
        "step_ms": "training step, time",
        "forward_ms": "forward, time",
        "step_gib": "training step, memory",
    }
    for axes, (column, title) in zip(panels, titles.items(), strict=True):
        values = {(r["kind"], r["model"], r["length"]): r[column] for r in rows}
        for i, name in enumerate(names):
            ratios = [
                (x + (i - (len(names) - 1) / 2) * 0.18, values[name, *cell] / values["dnamamba", *cell])  # type: ignore[operator]
                for x, cell in enumerate(cells)
                if values.get((name, *cell)) and values.get(("dnamamba", *cell))
            ]
            if ratios:
                axes.bar(*zip(*ratios, strict=True), width=0.17, label=str(name))
        axes.axhline(1, color="black", linewidth=0.8)
        axes.set(title=title, ylabel="times ours")
        axes.grid(axis="y", alpha=0.3)
    panels[0].legend(ncols=4, fontsize="small")
    panels[-1].set_xlim(-0.6, len(cells) - 0.4)
    panels[-1].set_xticks(range(len(cells)), [f"{m}\n{length:,}" for m, length in cells], fontsize="small")
    save_figure(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description="Time models of four sizes, and mamba_ssm's.")
    parser.add_argument("--out", type=Path, default=Path("logs/benchmarks/widths"))
    parser.add_argument("--models", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--lengths", nargs="+", type=int, default=LENGTHS)
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    parser.add_argument("--steps", type=int, default=3, help="timed calls, after one that is not")
    parser.add_argument("--seconds", type=float, default=600.0)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    began, rows = time.monotonic(), list[dict[str, object]]()
    lent = lend_convolution()
    check(find_spec("mamba_ssm") is not None)
    where = {
        "convolution_of_mamba_2": "dnamamba's" if lent else "causal-conv1d",
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
    }
    makers = {size: kinds(size) for size in args.models}
    cells = [
        (length, size, kind)
        for length, size in product(args.lengths, args.models)
        for kind in makers[size]
        if kind in ("dnamamba", *args.peers)
    ]
    for length, size, kind in sorted(cells, key=lambda cell: cell[2] in LAST):
        if time.monotonic() - began > args.seconds:
            break
        batch = max(1, LEAST // length)
        values: dict[str, float | None] = dict.fromkeys(MEASURED)
        reason, lost = "", False
        try:
            values = measure(makers[size][kind], batch, length, args.steps)
        except Exception as error:
            if kind == "dnamamba":
                raise
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            lost = isinstance(error, torch.AcceleratorError) or "illegal memory access" in reason
        cell = {"model": size, "batch": batch, "length": length, "kind": kind}
        rows.append({**cell, **values, "failed": reason, **where})
        print(*list(rows[-1].values())[:9], flush=True)
        write_table(rows, args.out / "widths.csv")
        if lost:  # the process can use the GPU no more
            break
    picture(rows, args.out / "widths.png")


if __name__ == "__main__":
    main()
