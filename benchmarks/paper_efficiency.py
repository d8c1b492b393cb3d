"""The two figures of the Mamba paper's section 4.5, on the device at hand, with its claims marked met or not.

    python benchmarks/paper_efficiency.py --out logs/benchmarks/paper_efficiency
    python benchmarks/paper_efficiency.py --device cpu --lengths 64 128 --width 64 --model tiny --prompt 64

Scan against length (B = 1, D = 1024, N = 16): ours; the same scan by doublings in PyTorch, with every state
in memory; a long convolution by FFT; causal attention in heads of 64. Times are medians, forward alone and
forward with backward. Generation against batch after a prompt: ours and a KV-cached Llama of the same size,
as in benchmarks/generation.py. What does not fit the memory is left out; nothing is begun after --seconds.

Writes scan.csv, generation.csv, scan.png, generation.png and claims.csv into OUT.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import torch
import torch.nn.functional as F
from generation import BLOCK, llama, measure_llama, measure_ours, our_model
from matplotlib.figure import Figure
from tables import write_table
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from dnamamba.kernels import selective_scan
from dnamamba.reports.figures import GRID, MUTED, SURFACE, TEXT, save_figure

N, HEAD = 16, 64
Rows = list[dict[str, object]]
COLOURS = ("#1c5cab", "#c2410c", "#898781", "#0f766e")


def normal(*shape: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    return torch.randn(*shape, device=device).to(dtype).requires_grad_()


def scan_inputs(width: int, length: int, device: torch.device, dtype: torch.dtype) -> dict[str, Tensor]:
    """Return u, dt, A, B, C of a scan, [1, L, D] and [1, L, N]."""
    a = -torch.arange(1.0, N + 1, device=device).expand(width, N).contiguous().requires_grad_()
    made = {name: normal(1, length, width, device=device, dtype=dtype) for name in ("u", "dt")}
    return made | {"A": a} | {name: normal(1, length, N, device=device, dtype=dtype) for name in ("B", "C")}


def torch_scan(u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """Scan by doublings: log2 L passes over decays and states [1, L, D, N] in float32."""
    dt = F.softplus(dt.float())
    decay = torch.exp(dt[..., None] * A)
    state = (dt * u.float())[..., None] * B.float()[:, :, None]
    reach = 1
    while reach < u.shape[1]:
        before = F.pad(state[:, :-reach], (0, 0, 0, 0, reach, 0))
        state = state + decay * before
        decay = decay * F.pad(decay[:, :-reach], (0, 0, 0, 0, reach, 0), value=1.0)
        reach *= 2
    return torch.einsum("bldn,bln->bld", state, C.float()).to(u.dtype)


def operators(
    width: int, length: int, device: torch.device, dtype: torch.dtype
) -> dict[str, tuple[Callable[[], Tensor], list[Tensor]]]:
    """Return what is timed, by name, with the tensors that get gradients."""
    inputs = scan_inputs(width, length, device, dtype)
    kernel = normal(width, length, device=device, dtype=torch.float32)
    q, k, v = (normal(1, width // HEAD or 1, length, HEAD, device=device, dtype=dtype) for _ in range(3))

    def convolution() -> Tensor:
        u = inputs["u"].float().mT
        spectrum = torch.fft.rfft(u, n=2 * length) * torch.fft.rfft(kernel, n=2 * length)
        return torch.fft.irfft(spectrum, n=2 * length)[..., :length].mT.to(dtype)

    def attention() -> Tensor:
        if device.type == "cpu":
            return F.scaled_dot_product_attention(q, k, v, is_causal=True)
        with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
            return F.scaled_dot_product_attention(q, k, v, is_causal=True)

    leaves = list(inputs.values())
    return {
        "scan": (lambda: selective_scan(**inputs, dt_softplus=True).y, leaves),
        "PyTorch scan": (lambda: torch_scan(**inputs), leaves),
        "convolution": (convolution, [inputs["u"], kernel]),
        "attention": (attention, [q, k, v]),
    }


def check(device: torch.device) -> None:
    """Exit unless our scan and PyTorch's agree, in float32."""
    inputs = scan_inputs(32, 100, device, torch.float32)
    ours, theirs = selective_scan(**inputs, dt_softplus=True).y, torch_scan(**inputs)
    worst = float((ours - theirs).detach().norm() / theirs.detach().norm())
    if not worst < 1e-4:
        raise SystemExit(f"the scans differ by {worst:.1e}: nothing was timed")


def milliseconds(call: Callable[[], object], device: torch.device, budget: float = 0.2) -> float:
    """Return the median time of a call, after two that are not counted."""
    times: list[float] = []
    for number in range(50):
        _wait(device)
        began = time.perf_counter()
        call()
        _wait(device)
        if number > 1:
            times.append(time.perf_counter() - began)
        if sum(times) > budget:
            break
    return 1e3 * statistics.median(times)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def measure_operators(options: argparse.Namespace, device: torch.device, until: float) -> Rows:
    """Time every operator at every length, until the time is over."""
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    rows: Rows = []
    for length in options.lengths:
        for name in ("scan", "PyTorch scan", "convolution", "attention"):
            if time.perf_counter() > until:
                return rows
            row: dict[str, object] = {"operator": name, "length": length, "forward_ms": "", "both_ms": ""}
            try:
                forward, leaves = operators(options.width, length, device, dtype)[name]
                with torch.no_grad():
                    row["forward_ms"] = round(milliseconds(forward, device), 4)

                def both(forward: Callable[[], Tensor] = forward, leaves: list[Tensor] = leaves) -> None:
                    torch.autograd.grad(forward().float().sum(), leaves)

                row["both_ms"] = round(milliseconds(both, device), 4)
            except torch.cuda.OutOfMemoryError:
                torch.cuda.empty_cache()
            print(f"{name:14} {length:>8,}  {row['forward_ms']:>10} {row['both_ms']:>10} ms", flush=True)
            rows.append(row)
    return rows


def measure_generation(options: argparse.Namespace, device: torch.device, until: float) -> Rows:
    """Time ours and Llama at every batch, until the time is over."""
    model = our_model(options.model, device)
    peer = None
    if find_spec("transformers") is not None:
        parameters = sum(parameter.numel() for parameter in model.parameters())
        shape = model.config
        peer = llama(parameters, shape.d_model, shape.n_layer, options.prompt + BLOCK, device)
    rows = []
    for batch in options.batches:
        made = []
        if time.perf_counter() < until:
            made.append(measure_ours(model, batch, options.prompt, device, options.repeats))
        for how in ("sdpa", "unmasked"):
            if peer is not None and time.perf_counter() < until:
                try:
                    made.append(measure_llama(peer, how, batch, options.prompt, device, options.repeats))
                except torch.cuda.OutOfMemoryError:
                    torch.cuda.empty_cache()
        rows += [row._asdict() for row in made]
    return rows


def of(rows: Rows, key: str, name: str, along: str, value: str) -> dict[int, float]:
    """Return the values of one curve by their place."""
    return {row[along]: float(row[value]) for row in rows if row[key] == name and row[value] != ""}  # type: ignore[misc, arg-type]


def claims(scan: Rows, generation: Rows) -> Rows:
    """Return the paper's claims with what was measured; those that could not be are `not measured`."""
    ours, slow, attention = (
        of(scan, "operator", name, "length", "forward_ms") for name in ("scan", "PyTorch scan", "attention")
    )
    found: Rows = []

    def claim(text: str, measured: str, met: bool | None) -> None:
        verdict = "not measured" if met is None else "met" if met else "not met"
        found.append({"claim": text, "measured": measured, "verdict": verdict})

    ratios = {length: slow[length] / ours[length] for length in slow if length in ours}
    best = max(ratios.values(), default=0.0)
    shown = ", ".join(f"{length:,}: {ratio:.1f}" for length, ratio in ratios.items())
    claim("scan 20 to 40 times a PyTorch scan (forward)", shown, best >= 20 if ratios else None)
    faster = [length for length in attention if length in ours and ours[length] < attention[length]]
    since = min(faster, default=0)
    claim("faster than flash attention from 2,048", f"from {since:,}", since <= 2048 if faster else None)
    at = attention.get(2**15, 0.0) / ours[2**15] if 2**15 in ours else 0.0
    claim("7 times flash attention at 32,768", f"{at:.1f}", at >= 7 if at else None)
    speed = of(generation, "model", "dnamamba", "batch", "bases_per_second")
    theirs = [
        of(generation, "model", f"Llama, {how}", "batch", "bases_per_second") for how in ("sdpa", "unmasked")
    ]
    shown, most = "", 0.0
    for batch, value in speed.items():
        peers = [curve[batch] for curve in theirs if batch in curve]
        if peers:
            most = max(most, value / max(peers))
            shown += f"{', ' if shown else ''}{batch}: {value / max(peers):.1f}"
    claim("4 to 5 times the generation of a Transformer, by batch", shown, most >= 4 if most else None)
    return found


def figure(curves: dict[str, dict[int, float]], along: str, what: str, title: str) -> Figure:
    """Plot curves on two logarithmic axes."""
    made = Figure(figsize=(7.5, 4.6), layout="constrained", facecolor=SURFACE)
    axes = made.subplots()
    axes.set_facecolor(SURFACE)
    for (name, curve), colour in zip(curves.items(), COLOURS, strict=False):
        axes.plot(list(curve), list(curve.values()), marker="o", markersize=4, color=colour, label=name)
    places = sorted({place for curve in curves.values() for place in curve})
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(places, [f"{place:,}" for place in places], rotation=45)
    low, high = axes.get_ylim()
    powers = [10.0**k for k in range(-6, 10) if low <= 10.0**k <= high]
    axes.set_yticks(powers, [f"{power:,g}" for power in powers])
    axes.minorticks_off()
    axes.set_xlabel(along, color=MUTED)
    axes.set_ylabel(what, color=MUTED)
    axes.set_title(title, loc="left", fontsize=10, color=TEXT)
    axes.grid(color=GRID, linewidth=0.8)
    axes.spines[:].set_visible(False)
    axes.legend(frameon=False, fontsize=9)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("logs/benchmarks/paper_efficiency"))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--width", type=int, default=1024, help="channels D of the operators")
    parser.add_argument("--lengths", type=int, nargs="*", default=[2**k for k in range(9, 19)])
    parser.add_argument("--model", default="paper_40m7", help="a file of conf/model")
    parser.add_argument("--batches", type=int, nargs="*", default=[1, 4, 16, 64, 128])
    parser.add_argument("--prompt", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=2, help=f"blocks of {BLOCK} bases timed")
    parser.add_argument("--seconds", type=float, default=75, help="no measurement begins after so many")
    options = parser.parse_args()
    device, began = torch.device(options.device), time.perf_counter()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    check(device)
    scan = measure_operators(options, device, began + 0.6 * options.seconds)
    generation = measure_generation(options, device, began + options.seconds)
    options.out.mkdir(parents=True, exist_ok=True)
    around = {"device": name, "torch": torch.__version__}
    found = claims(scan, generation)
    for file, rows in (("scan.csv", scan), ("generation.csv", generation), ("claims.csv", found)):
        write_table([row | around for row in rows], options.out / file)
    names = dict.fromkeys(str(row["operator"]) for row in scan)
    curves = {one: of(scan, "operator", one, "length", "forward_ms") for one in names}
    title = f"B = 1, D = {options.width}, N = {N}, forward, {name}"
    save_figure(figure(curves, "length", "ms", title), options.out / "scan.png")
    models = dict.fromkeys(str(row["model"]) for row in generation)
    curves = {one: of(generation, "model", one, "batch", "bases_per_second") for one in models}
    title = f"{options.model}, prompt of {options.prompt:,}, {name}"
    save_figure(figure(curves, "batch", "bases per second", title), options.out / "generation.png")
    for row in found:
        print(f"{row['claim']}: {row['measured']} ({row['verdict']})")
    print(f"{time.perf_counter() - began:.0f} s; wrote {options.out}")


if __name__ == "__main__":
    main()
