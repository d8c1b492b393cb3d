"""The environment report: versions, devices, the backend that would run and why, and a test of each."""

import os
import platform
import time
from collections.abc import Iterator
from typing import NamedTuple

import torch
from rich.table import Table

from dnamamba import __version__
from dnamamba.kernels import resolve, selective_scan
from dnamamba.kernels.backend import BACKENDS
from dnamamba.optional import CORE, EXTRAS, installed
from dnamamba.terminal import Console

# Relative to the reference in float64: rounding of float32 over a few hundred steps, with room.
_TOLERANCE = 2e-5
_SHAPE = (2, 300, 48, 16)  # B, L, E, N: several chunks, the last of them short


class Check(NamedTuple):
    """The self-test of a backend: `error` is the largest, over the largest value; None where it can't run."""

    backend: str
    device: str
    error: float | None
    seconds: float
    reason: str

    @property
    def failed(self) -> bool:
        """Whether the backend runs and is wrong."""
        return self.error is not None and not self.error < _TOLERANCE


def report(console: Console | None = None) -> bool:
    """Print the report; whether every backend that can run here agrees with the reference."""
    console = console or Console()
    facts = Table(show_header=False, box=None)
    for name, value in [*_versions(), *_devices()]:
        facts.add_row(name, value)
    console.print(facts)
    console.print(_features())
    checks = [check(backend, device) for device in _places() for backend in BACKENDS]
    table = Table(title="the selective scan and its gradients against float64", title_justify="left")
    for column in ("backend", "on", "largest error", "seconds", ""):
        table.add_column(column, justify="right" if column in ("largest error", "seconds") else "left")
    for one in checks:
        error = "-" if one.error is None else f"{one.error:.1e}"
        table.add_row(one.backend, one.device, error, f"{one.seconds:.2f}", one.reason)
    console.print(table)
    return not any(one.failed for one in checks)


def check(backend: str, device: str) -> Check:
    """Run a backend's scan and its gradients on random inputs of a fixed seed, state in and out."""
    began = time.perf_counter()
    try:
        found = _scan(backend, device, torch.float32)
    except Exception as error:  # whatever Triton's compiler raises: the report says so
        reason = str(error).partition("\n")[0] or type(error).__name__
        return Check(backend, device, None, time.perf_counter() - began, f"can't run: {reason}")
    seconds = time.perf_counter() - began
    expected = _scan("reference", "cpu", torch.float64)
    largest = max(
        ((ours.double().cpu() - theirs).abs().max() / theirs.abs().max()).item()
        for ours, theirs in zip(found, expected, strict=True)
    )
    done = Check(backend, device, largest, seconds, "")
    return done._replace(reason="WRONG" if done.failed else "agrees")


def _scan(backend: str, device: str, dtype: torch.dtype) -> list[torch.Tensor]:
    batch, length, channels, states = _SHAPE
    generator = torch.Generator().manual_seed(0)
    shapes = {
        "u": (batch, length, channels),
        "dt": (batch, length, channels),
        "A": (channels, states),
        "B": (batch, length, states),
        "C": (batch, length, states),
        "D": (channels,),
        "z": (batch, length, channels),
        "initial_state": (batch, channels, states),
    }
    inputs = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    inputs["A"] = -inputs["A"].exp()
    inputs = {name: t.to(device, dtype).requires_grad_() for name, t in inputs.items()}
    positional = [inputs.pop(name) for name in ("u", "dt", "A", "B", "C")]
    y, state = selective_scan(*positional, **inputs, dt_softplus=True, backend=backend)  # type: ignore[arg-type]
    weights = torch.linspace(-1, 1, length, dtype=dtype, device=device)[:, None]
    gradients = torch.autograd.grad((y * weights).sum() + state.sum(), [*positional, *inputs.values()])
    return [y.detach(), state.detach(), *gradients]


def _versions() -> Iterator[tuple[str, str]]:
    yield "dnamamba", __version__
    yield "python", f"{platform.python_version()} on {platform.platform()}"
    for name in CORE:
        yield name, installed(name) or "not installed"


def _features() -> Table:
    """Say of each extra whether it is there, with its versions, or how to have it."""
    table = Table(title="extras", title_justify="left", box=None)
    for column in ("extra", "for", "installed, or how to have it"):
        table.add_column(column)
    for name, extra in EXTRAS.items():
        there = [f"{package} {found}" for package in extra.packages if (found := installed(package))]
        if extra.missing:
            there.append(f"pip install 'dnamamba[{name}]'" + (f" (no {extra.missing[0]})" if there else ""))
        table.add_row(name, extra.adds, ", ".join(there))
    return table


def _devices() -> Iterator[tuple[str, str]]:
    yield "CPU", f"{os.cpu_count()} cores, {torch.get_num_threads()} threads"
    if not torch.cuda.is_available():
        why = (
            "this torch is built without CUDA" if torch.version.cuda is None else "torch sees no CUDA device"
        )
        yield "GPU", f"none: {why}"
    for number in range(torch.cuda.device_count()):
        of = torch.cuda.get_device_properties(number)
        yield (
            f"cuda:{number}",
            (
                f"{of.name}, {of.total_memory / 2**30:.0f} GiB, compute capability {of.major}.{of.minor}, "
                f"CUDA {torch.version.cuda}"
            ),
        )
    for device in _places():
        chosen = resolve("auto", torch.device(device), torch.float32)
        where = "on a CUDA device" if chosen == "triton" else "wherever tensors lie on no CUDA device"
        faster = "; pip install 'dnamamba[cpu]' for `numba`, 3 times as fast" if chosen == "chunked" else ""
        yield f"backend on {device}", f"{chosen}: what `auto` takes {where}{faster}"
        yield f"bf16 on {device}", _bf16(device)


def _places() -> list[str]:
    return ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def _bf16(device: str) -> str:
    if device == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        return "no: this GPU has none; precision=auto is fp32"
    x = torch.ones(8, 8, device=device)
    with torch.autocast(device, torch.bfloat16):
        works = bool(((x @ x) == 8).all())
    if not works:
        return "no: a product of ones is wrong"
    return "works, and precision=auto takes it" if device == "cuda" else "works; precision=auto is fp32 here"
