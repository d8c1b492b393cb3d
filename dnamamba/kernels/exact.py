"""Sums in float64, on the host for devices that have none: on a Mac's GPU (mps) no double is ever made."""

from __future__ import annotations

import torch
from torch import Tensor

_WITHOUT = ("mps",)  # types of devices without float64


def exact_device(device: torch.device | str) -> torch.device:
    """Return the device that computes float64 for tensors on `device`: that one, or the CPU.

    >>> exact_device("cuda"), exact_device("mps")
    (device(type='cuda'), device(type='cpu'))
    """
    place = torch.device(device)
    return torch.device("cpu") if place.type in _WITHOUT else place


def exact(x: Tensor) -> Tensor:
    """Return a tensor of any shape in float64, on its `exact_device`; gradients pass."""
    return x.to(exact_device(x.device)).double()


def exact_zeros(*shape: int, device: torch.device | str) -> Tensor:
    """Return zeros in float64, on the `exact_device` of `device`."""
    return torch.zeros(*shape, dtype=torch.float64, device=exact_device(device))


def rounded(x: Tensor, like: Tensor) -> Tensor:
    """Return a float64 result of any shape in the dtype of `like` and then on its device."""
    return x.to(like.dtype).to(like.device)
