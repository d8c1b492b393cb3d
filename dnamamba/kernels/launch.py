"""Launches of kernels for less of the host's time.

Triton's own launch asks every argument what to compile for, makes a string of that, and compares every
constant of the kernel's module with what it was. That takes 6 to 29 µs for the kernels of a scan, this 4 to 8
(one CPU); a short sequence's kernels run no longer themselves. What is switched on in triton's knobs later,
to debug or to instrument, holds for kernels that are compiled from then on.
"""

from typing import Any

import triton
from torch import Tensor
from triton.compiler import CompiledKernel
from triton.runtime import driver

_compiled: dict[tuple[Any, ...], tuple[Any, list[Any]]] = {}


def launch(kernel: Any, grid: tuple[int, ...], *arguments: Any, **flags: Any) -> None:
    """Run `kernel[grid](*arguments, **flags)`; the flags have every constexpr, all behind the arguments."""
    if not isinstance(kernel, triton.JITFunction) or kernel.pre_run_hooks:
        kernel[grid](*arguments, **flags)  # the interpreter's, or one that triton's own launch must see
        return
    key = (kernel, driver.active.get_current_device(), *map(_kind, arguments), *flags.items())
    known = _compiled.get(key)
    if known is None:
        binary = kernel[grid](*arguments, **flags)
        # While triton compiles in the background, or is told not to compile, this is something else.
        if isinstance(binary, CompiledKernel):
            _compiled[key] = binary, [flags[name] for name in kernel.arg_names[len(arguments) :]]
        return
    binary, constants = known
    binary[grid + (1,) * (3 - len(grid))](*arguments, *constants)


def _kind(argument: Any) -> Any:
    """Return what triton compiles for on CUDA: dtype, alignment; equal to 1, divisible by 16, over 32 bits.

    Numbers are sizes, none below 0, or floats.
    """
    if argument is None:
        return None
    if isinstance(argument, Tensor):
        return argument.dtype, argument.data_ptr() % 16 == 0
    if isinstance(argument, float):
        return float
    return argument == 1, argument % 16 == 0, argument < 2**31


def power_of_two(size: int) -> int:
    """Return the smallest power of two not below `size`; triton's own function takes longer."""
    return 1 << (size - 1).bit_length()
