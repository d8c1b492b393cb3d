"""Tensors as the kernels take them: float32 arrays whose last dimension is dense and a multiple of 16."""

import ctypes
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .vectors import LANES


def rows_of(x: Tensor | None) -> Any:
    """Return uint8 [B, L] as an array, without rows for None."""
    return np.empty((0, 0), np.uint8) if x is None else x.contiguous().numpy()


def padded(size: int, unit: int = LANES) -> int:
    """Return the multiple of `unit` from `size` on."""
    return -(-size // unit) * unit


def array(x: Tensor, *sizes: int) -> Any:
    """Return `x` as an array without a copy if it can be, else copied and filled up with zeros to `sizes`.

    Weights, of at most two dimensions, are always copied: an array pins its tensor's memory, and FSDP frees
    that of the weights that it has gathered.

    Args:
        x: a tensor of any shape.
        sizes: of the last dimensions of the array.
    """
    x = x.detach()
    activation = x.ndim > 2
    if (
        activation
        and tuple(x.shape[-len(sizes) :]) == sizes
        and x.dtype == torch.float32
        and x.stride(-1) == 1
    ):
        return x.numpy()
    copy = x.new_zeros((*x.shape[: -len(sizes)], *sizes), dtype=torch.float32)
    copy[tuple(slice(size) for size in x.shape)] = x
    return copy.numpy()


def copied(x: Tensor) -> Any:
    """Return float32 values of any shape as an array of their own, copied by this thread alone.

    `Tensor.numpy` marks the memory as never to be freed, which FSDP does with weights; torch's own copies
    wake its threads.
    """
    x = x.detach().contiguous()
    seen = (ctypes.c_float * x.numel()).from_address(x.data_ptr())
    return np.array(np.ctypeslib.as_array(seen).reshape(x.shape))


def like(x: Tensor, size: int) -> Tensor:
    """Return new memory in the shape of `x` [..., n], its last dimension filled up: [..., size]."""
    return x.new_empty((*x.shape[:-1], size), dtype=torch.float32)


def back(x: Tensor, to: Tensor) -> Tensor:
    """Return the first rows, columns, ... of `x` [..., size] in the shape and dtype of `to` [..., n]."""
    return x[tuple(slice(size) for size in to.shape)].to(to.dtype)
