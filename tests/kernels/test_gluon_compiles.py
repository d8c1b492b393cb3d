"""The Gluon kernels as compiled code, without a GPU: their layouts, which `gluon_on_cpu` does not look at."""

from typing import Any

import pytest

triton = pytest.importorskip("triton", reason="triton is published for Linux on x86-64 alone")

from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.experimental.gluon._runtime import GluonASTSource  # noqa: E402

from dnamamba.kernels.selective_scan import gluon_sweeps as sweeps  # noqa: E402

FULL = {"p_A", "p_D", "p_bias", "p_state", "p_adjoint", "p_first", "p_last", "p_total"}
FULL |= {"p_dA", "p_dB", "p_dC", "p_dD", "p_dbias", "p_dfirst"}
SWITCHES = ("HAS_D", "HAS_Z", "HAS_BIAS", "SOFTPLUS", "SAVE", "SAVE_Y", "SINGLE", "HAS_FIRST", "HAS_LAST")
SWITCHES += ("HAS_STARTS",)
CASES = {
    "training": set(SWITCHES[:6]),
    "bare, rows of sequences": {"SAVE", "HAS_STARTS"},
    "single, with states": {"HAS_D", "HAS_BIAS", "SINGLE", "HAS_FIRST", "HAS_LAST"},
}
# Tensors that a switch turns off are None, and so are constants.
ABSENT = {"p_D": "HAS_D", "p_z": "HAS_Z", "p_bias": "HAS_BIAS", "p_first": "HAS_FIRST", "p_last": "HAS_LAST"}
ABSENT["p_starts"] = "HAS_STARTS"
SHARED = 227 * 1024  # bytes of a multiprocessor of Hopper, of which every program takes 1 KiB besides its own
REGISTERS = 65_536


def compiled(
    kernel: Any, options: dict[str, int], half: str = "bf16", capability: int = 90, case: str = "training"
) -> Any:
    on = CASES[case]
    constants = {name: name in on for name in SWITCHES} | {"SEGMENT": 64, "TURN": 1} | options
    off = set(kernel.arg_names) - on
    constants |= {name: None for name, switch in ABSENT.items() if switch in off}
    constants = {name: constants[name] for name in kernel.arg_names if name in constants}
    types, aligned = {}, {}
    for place, name in enumerate(kernel.arg_names):
        if name in constants:
            types[name] = "constexpr"
        elif name.startswith("p_"):
            kind = "fp32" if name in FULL else half
            if name == "p_starts":  # a block of bytes
                kind = "i32" if "p_dA" in kernel.arg_names else "i64"
            types[name] = f"*{kind}"
            aligned[(place,)] = [["tt.divisibility", 16]]
        else:
            types[name] = "i32"
    source = GluonASTSource(kernel, types, constexprs=constants, attrs=aligned)
    launch = {name: options[name] for name in ("num_warps", "maxnreg")}
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=launch)


KERNELS = ("forward_kernel", "output_kernel", "backward_kernel", "gradient_kernel")


def options_of(name: str) -> dict[str, int]:
    return sweeps._GRADIENT if name == "gradient_kernel" else sweeps._SWEEP


def test_rows_are_copied_ahead_from_the_end_too() -> None:
    back = compiled(sweeps.gradient_kernel, {**options_of("gradient_kernel"), "TURN": -1})
    copies = back.asm["ptx"].count("cp.async.ca") + back.asm["ptx"].count("cp.async.cg")
    assert copies == 2 * len(("u", "dt", "dy", "z", "B", "C"))  # one each, in both sweeps


@pytest.mark.parametrize(("half", "capability"), [("bf16", 90), ("fp16", 80), ("bf16", 100), ("fp16", 120)])
@pytest.mark.parametrize("name", KERNELS)
def test_rows_are_copied_ahead_since_ampere(name: str, half: str, capability: int) -> None:
    assert "cp.async" in compiled(getattr(sweeps, name), options_of(name), half, capability).asm["ptx"]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", KERNELS)
def test_hopper_shared_memory_holds_what_its_registers_do(name: str, case: str) -> None:
    options = options_of(name)
    found = compiled(getattr(sweeps, name), options, case=case)
    programs = min(32, REGISTERS // (32 * options["maxnreg"]))
    assert programs * (found.metadata.shared + 1024) <= SHARED


def test_channel_sums_use_tensor_cores_without_shuffles() -> None:
    ptx = compiled(sweeps.gradient_kernel, sweeps._GRADIENT).asm["ptx"]
    assert (
        ptx.count("mma.sync.aligned.m16n8k8") == 2 * 4 * 4
    )  # two sweeps, four positions, four quarters of N
    assert "shfl" not in ptx
