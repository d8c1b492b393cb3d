"""A wrong argument is named, with what it is and what it should be, before any kernel sees it."""

import re

import pytest
import torch
from torch import Tensor

from dnamamba.kernels import causal_conv1d, selective_scan


def scan_arguments() -> dict[str, Tensor]:
    B, L, E, N = 2, 5, 3, 4
    return {
        "u": torch.ones(B, L, E),
        "dt": torch.ones(B, L, E),
        "A": -torch.ones(E, N),
        "B": torch.ones(B, L, N),
        "C": torch.ones(B, L, N),
    }


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("u", torch.ones(5, 3), "u has shape (5, 3), expected three dimensions [B, L, E]"),
        ("u", torch.ones(2, 0, 3), "u has shape (2, 0, 3), expected no empty dimension"),
        ("u", torch.ones(2, 5, 3).int(), "u has dtype torch.int32, expected a floating-point dtype"),
        (
            "dt",
            torch.ones(2, 5, 4),
            "dt has shape (2, 5, 4), expected (2, 5, 3) to go with u of shape (2, 5, 3)",
        ),
        ("A", torch.ones(4, 3), "A has shape (4, 3), expected (3, N) for u (2, 5, 3)"),
        ("A", torch.ones(3, 0), "A has shape (3, 0), expected (3, N) for u (2, 5, 3)"),
        ("A", torch.ones(3, 4).long(), "A has dtype torch.int64, expected a floating-point dtype"),
        (
            "B",
            torch.ones(2, 4, 5),
            "B has shape (2, 4, 5), expected (2, 5, 4) to go with u of shape (2, 5, 3)",
        ),
        (
            "C",
            torch.ones(2, 5, 8),
            "C has shape (2, 5, 8), expected (2, 5, 4) to go with u of shape (2, 5, 3)",
        ),
        ("D", torch.ones(1, 3), "D has shape (1, 3), expected (3,) to go with u of shape (2, 5, 3)"),
        (
            "z",
            torch.ones(2, 1, 3),
            "z has shape (2, 1, 3), expected (2, 5, 3) to go with u of shape (2, 5, 3)",
        ),
        ("dt_bias", torch.ones(4), "dt_bias has shape (4,), expected (3,) to go with u of shape (2, 5, 3)"),
        (
            "initial_state",
            torch.ones(2, 4, 3),
            "initial_state has shape (2, 4, 3), expected (2, 3, 4) to go with u",
        ),
        ("dt", torch.ones(2, 5, 3, device="meta"), "dt is on meta, but u is on cpu"),
    ],
)
def test_scan(name: str, value: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        selective_scan(**scan_arguments() | {name: value})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("x", torch.ones(5), "x has shape (5,), expected three dimensions [B, L, E]"),
        ("x", torch.ones(0, 5, 3), "x has shape (0, 5, 3), expected no empty dimension"),
        ("weight", torch.ones(3, 1, 4), "weight has shape (3, 1, 4), expected (3, K) for x (2, 5, 3)"),
        ("weight", torch.ones(4, 3), "weight has shape (4, 3), expected (3, K) for x (2, 5, 3)"),
        ("bias", torch.ones(4), "bias has shape (4,), expected (3,) to go with x of shape (2, 5, 3)"),
        (
            "initial_state",
            torch.ones(2, 4, 3),
            "initial_state has shape (2, 4, 3), expected (2, 3, 3) to go with x",
        ),
        ("bias", torch.ones(3, device="meta"), "bias is on meta, but x is on cpu"),
        ("activation", "relu", "unknown activation 'relu'; choose 'silu' or None"),
        ("activation", "", "unknown activation ''; choose 'silu' or None"),
    ],
)
def test_convolution(name: str, value: Tensor | str, message: str) -> None:
    arguments = {"x": torch.ones(2, 5, 3), "weight": torch.ones(3, 4)}
    with pytest.raises(ValueError, match=re.escape(message)):
        causal_conv1d(**arguments | {name: value})
