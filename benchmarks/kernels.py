"""How fast the selective scan and the causal convolution run on the GPU at hand.

    python benchmarks/kernels.py --out logs/benchmarks/kernels

First the kernels must agree with the textbook loop in fp64, outputs and gradients, or nothing is timed. Then:
the scan at the shapes of genomic models (bf16, N = 16, softplus, bias, D and gate fused) and two bounds,
one exponential per state (16 per clock and multiprocessor) and one copy of its inputs and outputs; torch's
flash and cuDNN attention at 16 heads of 64, causal; mamba_ssm and causal-conv1d where they can be imported.
Times are medians. Tables go to the terminal, everything goes to OUT/kernels.csv and OUT/kernels.png.
"""

import argparse
import csv
import subprocess
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
import triton
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from triton.testing import do_bench

from dnamamba.kernels import causal_conv1d, selective_scan
from dnamamba.reports.figures import save_figure

N = 16
SHAPES = [
    (1, 256, 2**20),
    (16, 256, 2**16),
    (1024, 256, 2**10),
    (1, 1024, 2**17),
    (1, 1024, 2**14),
    (8, 1536, 2**11),
]
CURVE = [2**k for k in range(10, 18)]


class Row(NamedTuple):
    """Milliseconds, rates of the forward, and memory beyond inputs, outputs and gradients."""

    name: str
    B: int
    E: int
    L: int
    forward_ms: float
    backward_ms: float
    forward_gb_s: float = 0.0
    forward_gexp_s: float = 0.0
    scratch_bytes_per_element: float = 0.0


def scan_inputs(B: int, E: int, L: int, dtype: torch.dtype = torch.bfloat16) -> dict[str, Tensor]:
    draw = torch.Generator("cuda").manual_seed(0)

    def normal(*shape: int, dtype: torch.dtype = dtype) -> Tensor:
        return torch.randn(*shape, generator=draw, device="cuda").to(dtype)

    a = -torch.arange(1, N + 1, device="cuda").float().expand(E, N).contiguous()
    d, bias = normal(E, dtype=torch.float32), normal(E, dtype=torch.float32) - 3
    inputs = {"u": normal(B, L, E), "dt": normal(B, L, E), "A": a, "B": normal(B, L, N), "C": normal(B, L, N)}
    return inputs | {"D": d, "z": normal(B, L, E), "dt_bias": bias}


def gate() -> None:
    """Refuse to time kernels that are wrong, in full precision or in half."""
    cases = (
        (2, 100, 300, torch.float32, 5e-6),
        (1, 256, 1025, torch.float32, 5e-6),
        (1, 256, 1032, torch.bfloat16, 5e-3),
        (3200, 32, 72, torch.bfloat16, 5e-3),
    )
    for B, E, L, dtype, most in cases:
        inputs = scan_inputs(B, E, L, dtype)
        results = []
        for backend, wide in (("triton", None), ("reference", torch.float64)):
            leaves = {k: x.to(wide or x.dtype).requires_grad_() for k, x in inputs.items()}
            y, state = selective_scan(**leaves, dt_softplus=True, backend=backend)
            loss = sum((x.double() * weights(x.shape)).sum() for x in (y, state))
            results.append([y, state, *torch.autograd.grad(loss, list(leaves.values()))])
        for ours, truth in zip(*results, strict=True):
            error = float((ours.double() - truth).norm() / truth.norm())
            if not error < most:
                raise SystemExit(
                    f"wrong at B={B} E={E} L={L}, {dtype}: relative error {error:.1e}; nothing was timed"
                )


def weights(shape: torch.Size) -> Tensor:
    """Return the weights of outputs in a loss, exact in bf16, so that gradients begin without rounding."""
    return (
        torch.randn(shape, generator=torch.Generator("cuda").manual_seed(1), device="cuda")
        .bfloat16()
        .double()
    )


def timed(forward: Callable[[], Tensor], leaves: list[Tensor]) -> tuple[float, float]:
    forward_ms = do_bench(forward, warmup=5, rep=40, return_mode="median")
    y = forward()
    dy = torch.randn_like(y)
    backward = lambda: torch.autograd.grad(y, leaves, dy, retain_graph=True)  # noqa: E731
    return forward_ms, do_bench(backward, warmup=5, rep=40, return_mode="median")


def scan_row(B: int, E: int, L: int) -> Row:
    leaves = {k: x.requires_grad_() for k, x in scan_inputs(B, E, L).items()}
    forward_ms, backward_ms = timed(
        lambda: selective_scan(**leaves, dt_softplus=True).y, list(leaves.values())
    )

    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    y = selective_scan(**leaves, dt_softplus=True).y
    gradients = torch.autograd.grad(y, list(leaves.values()), torch.ones_like(y))
    peak = torch.cuda.max_memory_allocated() - before
    known = 2 * y.nbytes + sum(g.nbytes for g in gradients)
    moved = 4 * y.nbytes + leaves["B"].nbytes + leaves["C"].nbytes
    return Row(
        "dnamamba", B, E, L, forward_ms, backward_ms,
        moved / forward_ms / 1e6, B * E * L * N / forward_ms / 1e6, (peak - known) / y.numel(),
    )  # fmt: skip


def mamba_ssm_row(B: int, E: int, L: int) -> Row:
    from mamba_ssm.ops.selective_scan_interface import selective_scan_fn

    x = {k: v.transpose(1, 2).contiguous() if v.dim() == 3 else v for k, v in scan_inputs(B, E, L).items()}
    x = {k: v.requires_grad_() for k, v in x.items()}

    def forward() -> Tensor:
        gate, bias = x["z"], x["dt_bias"]
        return selective_scan_fn(
            x["u"], x["dt"], x["A"], x["B"], x["C"], x["D"], gate, bias, delta_softplus=True
        )

    return Row("mamba_ssm", B, E, L, *timed(forward, list(x.values())))


def bounds(B: int, E: int, L: int, copy_gb_s: float) -> list[Row]:
    device = triton.runtime.driver.active.utils.get_device_properties(0)
    exponentials = 16 * device["multiprocessor_count"] * device["sm_clock_rate"] * 1e3
    moved = 2 * (4 * B * L * E + 2 * B * L * N)
    return [
        Row("bound: exponentials", B, E, L, B * E * L * N / exponentials * 1e3, 0.0),
        Row("bound: copy", B, E, L, moved / copy_gb_s / 1e6, 0.0),
    ]


def convolution_rows(B: int, E: int, L: int) -> list[Row]:
    x = torch.randn(B, L, 2 * E, device="cuda", dtype=torch.bfloat16)[..., :E].detach().requires_grad_()
    weight, bias = (torch.randn(s, device="cuda", requires_grad=True) for s in ((E, 4), (E,)))
    ours = timed(lambda: causal_conv1d(x, weight, bias, activation="silu").y, [x, weight, bias])
    rows = [Row("causal_conv1d", B, E, L, *ours, 4 * x.numel() / ours[0] / 1e6)]
    if find_spec("causal_conv1d"):
        from causal_conv1d import causal_conv1d_fn

        w, b = weight.detach().bfloat16().requires_grad_(), bias.detach().bfloat16().requires_grad_()
        peer = timed(lambda: causal_conv1d_fn(x.transpose(1, 2), w, b, activation="silu"), [x, w, b])
        rows.append(Row("causal-conv1d (peer)", B, E, L, *peer))
    return rows


def attention_row(name: str, backend: SDPBackend, L: int) -> Row:
    q, k, v = (
        torch.randn(1, 16, L, 64, device="cuda", dtype=torch.bfloat16, requires_grad=True) for _ in "qkv"
    )
    with sdpa_kernel(backend):
        times = timed(lambda: F.scaled_dot_product_attention(q, k, v, is_causal=True), [q, k, v])
    return Row(name, 1, 1024, L, *times)


def copy_rate() -> float:
    source = torch.empty(2**31, device="cuda", dtype=torch.uint8)
    target = torch.empty_like(source)
    return 2 * source.nbytes / do_bench(lambda: target.copy_(source), return_mode="median") / 1e6


def picture(rows: list[Row], path: Path) -> None:
    """Draw forward plus backward against L at B = 1, E = 1,024."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for name in dict.fromkeys(row.name for row in rows):
        line = sorted((r.L, r.forward_ms + r.backward_ms) for r in rows if r.name == name)
        axes.loglog(*zip(*line, strict=True), marker="o", base=2, label=name)
    axes.set(xlabel="length", ylabel="forward + backward, ms", title="B = 1, E = 1024 (16 heads of 64), bf16")
    axes.set_yscale("log", base=10)
    axes.grid(alpha=0.3)
    axes.legend()
    save_figure(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the kernels.")
    parser.add_argument("--out", type=Path, default=Path("logs/benchmarks/kernels"))
    parser.add_argument("--longest", type=int, default=2**17, help="longest sequence of the curve")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    gate()
    copy_gb_s = copy_rate()
    rows: list[Row] = []
    for shape in SHAPES:
        rows += [scan_row(*shape), *bounds(*shape, copy_gb_s)]
        if find_spec("mamba_ssm"):
            rows.append(mamba_ssm_row(*shape))
    rows += convolution_rows(*SHAPES[0])
    rows += [scan_row(1, 256, 2**18)]
    curve: list[Row] = []
    for L in (L for L in CURVE if args.longest >= L):
        curve.append(scan_row(1, 1024, L))
        curve.append(attention_row("flash attention", SDPBackend.FLASH_ATTENTION, L))
        curve.append(attention_row("cuDNN attention", SDPBackend.CUDNN_ATTENTION, L))
        if find_spec("mamba_ssm"):
            curve.append(mamba_ssm_row(1, 1024, L))

    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    where = [
        torch.cuda.get_device_name(),
        torch.__version__,
        triton.__version__,
        commit.stdout.strip() or "unknown",
    ]
    with (args.out / "kernels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*Row._fields, "device", "torch", "triton", "commit"])
        writer.writerows([*row, *where] for row in rows + curve)
    picture(curve, args.out / "kernels.png")
    print(f"{', '.join(where)}; copy {copy_gb_s:.0f} GB/s")
    short, long = (r for L in (2**18, 2**20) for r in rows if r[:4] == ("dnamamba", 1, 256, L))
    forward, backward = long.forward_ms / short.forward_ms, long.backward_ms / short.backward_ms
    print(f"from 2^18 to 2^20, times: forward {forward:.2f}, backward {backward:.2f}")
    for row in rows + curve:
        values = " ".join(f"{value:10.3f}" for value in row[4:])
        print(f"{row.name:22s} {row.B:5d} {row.E:5d} {row.L:8d} {values}")


if __name__ == "__main__":
    main()
