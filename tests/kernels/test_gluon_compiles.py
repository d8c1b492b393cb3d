"""The Gluon kernels as compiled code, without a GPU: their layouts, which `gluon_on_cpu` does not look at."""

from typing import Any

import pytest

triton = pytest.importorskip("triton", reason="triton is published for Linux on x86-64 alone")

from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.experimental.gluon._runtime import GluonASTSource  # noqa: E402

from dnamamba.kernels.selective_scan import gluon_sweeps as sweeps  # noqa: E402

FULL = {"p_A", "p_D", "p_bias", "p_state", "p_adjoint", "p_first", "p_last", "p_total"}
FULL |= {"p_dA", "p_dB", "p_dC", "p_dD", "p_dbias", "p_dfirst"}
FLAGS = {"HAS_D": True, "HAS_Z": True, "HAS_BIAS": True, "SOFTPLUS": True, "SEGMENT": 64, "SINGLE": False}
FLAGS |= {"HAS_FIRST": False, "HAS_LAST": False, "SAVE": True, "SAVE_Y": True}
SHARED = 227 * 1024  # bytes of a multiprocessor of Hopper, of which every program takes 1 KiB beside its own
REGISTERS = 65_536


def compiled(kernel: Any, options: dict[str, int], half: str, capability: int) -> Any:
    constants = {**FLAGS, **options}
    constants = {name: constants[name] for name in kernel.arg_names if name in constants}
    types, aligned = {}, {}
    for place, name in enumerate(kernel.arg_names):
        if name in constants:
            types[name] = "constexpr"
        elif name.startswith("p_"):
            types[name] = f"*{'fp32' if name in FULL else half}"
            aligned[(place,)] = [["tt.divisibility", 16]]
        else:
            types[name] = "i32"
    source = GluonASTSource(kernel, types, constexprs=constants, attrs=aligned)
    launch = {name: options[name] for name in ("num_warps", "maxnreg")}
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=launch)


@pytest.mark.parametrize(("half", "capability"), [("bf16", 90), ("fp16", 80), ("bf16", 100), ("fp16", 120)])
@pytest.mark.parametrize("name", ["forward_kernel", "output_kernel", "backward_kernel", "gradient_kernel"])
def test_shared_memory_holds_as_many_programs_as_the_registers(name: str, half: str, capability: int) -> None:
    options = sweeps._GRADIENT if name == "gradient_kernel" else sweeps._SWEEP
    found = compiled(getattr(sweeps, name), options, half, capability)
    programs = min(32, REGISTERS // (32 * options["maxnreg"]))
    assert programs * (found.metadata.shared + 1024) <= SHARED
    assert "cp.async" in found.asm["ptx"]


def test_sums_over_channels_run_on_tensor_cores_and_move_nothing_between_lanes() -> None:
    ptx = compiled(sweeps.gradient_kernel, sweeps._GRADIENT, "bf16", 90).asm["ptx"]
    assert (
        ptx.count("mma.sync.aligned.m16n8k8") == 2 * 4 * 4
    )  # two sweeps, four positions, four quarters of N
    assert "shfl" not in ptx
