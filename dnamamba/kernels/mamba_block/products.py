"""Launches of the matrix product, and which products of a block it makes."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dnamamba.kernels.launch import launch
from dnamamba.kernels.selective_scan.gluon_sweeps import runs_on

from .triton_product import product as product_kernel

_HALF = {"ROWS": 128, "COLS": 128, "DEEP": 64, "PRECISION": "tf32", "num_warps": 4, "num_stages": 3}
_FULL = {"ROWS": 128, "COLS": 64, "DEEP": 32, "PRECISION": "tf32x3", "num_warps": 4, "num_stages": 3}
# Below it torch's product of fp32 is faster.
_LEAST_DEPTH = 64


def product(x: Tensor, weight: Tensor, residual: Tensor | None = None) -> Tensor:
    """Return x weight^T (+ residual), [.., O], rounded once, in the dtype of `residual` or of `x`.

    fp32 is multiplied as three products in TF32 on tensor cores, with errors like those of fp32.

    Args:
        x: [.., I].
        weight: [O, I], in the dtype of `x`.
        residual: [.., O].
    """
    columns, depth = weight.shape
    x, weight = x.contiguous(), weight.contiguous()
    y = x.new_empty(*x.shape[:-1], columns, dtype=x.dtype if residual is None else residual.dtype)
    rows = x.numel() // depth
    tiles: dict[str, Any] = _FULL if x.dtype == torch.float32 else _HALF
    launch(
        product_kernel, (-(-rows // tiles["ROWS"]) * -(-columns // tiles["COLS"]),),
        x, weight, None if residual is None else residual.contiguous(), y, rows, columns, depth,
        HAS_RESIDUAL=residual is not None, **tiles,
    )  # fmt: skip
    return y


def linear(x: Tensor, weight: Tensor) -> Tensor:
    """Return x weight^T, [.., O], in fp32 on NVIDIA's tensor cores by `product`.

    Args:
        x: [.., I].
        weight: [O, I].
    """
    return product(x, weight) if _is_full(x) and weight.shape[1] >= _LEAST_DEPTH else F.linear(x, weight)


def linear_added(x: Tensor, weight: Tensor, residual: Tensor) -> Tensor:
    """Return residual + x weight^T, [.., O], on NVIDIA's tensor cores in one pass over memory.

    Args:
        x: [.., I].
        weight: [O, I].
        residual: [.., O].
    """
    if _is_full(x) or (x.dtype.itemsize == 2 and runs_on(x.device)):
        return product(x, weight, residual)
    return residual + F.linear(x, weight)


def _is_full(x: Tensor) -> bool:
    """Return whether `x` is multiplied in TF32 three times: who allows TF32 alone gets that, from torch."""
    exact = x.dtype == torch.float32 and torch.get_float32_matmul_precision() == "highest"
    return exact and runs_on(x.device)
