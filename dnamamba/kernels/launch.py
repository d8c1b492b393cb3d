"""Launches of kernels for less of the host's time.

Triton's own launch asks every argument what to compile for, makes a string of that, and compares every
constant of the kernel's module with what it was. That takes 6 to 29 µs for the kernels of a scan, this 4 to 8
(one CPU); a short sequence's kernels run no longer themselves.
"""

from typing import Any

import triton
from torch import Tensor
from triton.runtime import driver

_compiled: dict[tuple[Any, ...], tuple[Any, list[Any]]] = {}


def launch(kernel: Any, grid: tuple[int, ...], *arguments: Any, **flags: Any) -> None:
    """`kernel[grid](*arguments, **flags)`; the flags have every constexpr, all behind the arguments."""
    if not isinstance(kernel, triton.JITFunction):
        kernel[grid](*arguments, **flags)  # the interpreter's
        return
    key = (kernel, driver.active.get_current_device(), *map(_kind, arguments), *flags.items())
    known = _compiled.get(key)
    if known is None:
        constants = [flags[name] for name in kernel.arg_names[len(arguments) :]]
        _compiled[key] = kernel[grid](*arguments, **flags), constants
        return
    binary, constants = known
    binary[grid + (1,) * (3 - len(grid))](*arguments, *constants)


def _kind(argument: Any) -> Any:
    """All that triton compiles for: dtype and alignment; a one, a multiple of 16, a size past 32 bits."""
    if argument is None:
        return None
    if isinstance(argument, Tensor):
        return argument.dtype, argument.data_ptr() % 16 == 0
    if isinstance(argument, float):
        return float
    return argument == 1, argument % 16 == 0, argument < 2**31


def power_of_two(size: int) -> int:
    """The least one that is no less than `size`; triton's own function takes longer."""
    return 1 << (size - 1).bit_length()
