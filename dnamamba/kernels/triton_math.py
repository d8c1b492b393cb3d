# The bodies are Triton's language: tuples grow by +, ranges have two ends, a constexpr branch needs its else.
# ruff: noqa: RUF005, RET505
# mypy: ignore-errors
"""Elementwise functions shared by the Triton kernels, in fp32.

For half-precision inputs on a GPU (`FAST`) exponentials and reciprocals are single special-function
instructions. Those err by up to 2e-7, always the same way for the same argument, and over many steps of a
slow decay that adds up to more than fp32 inputs deserve. So for these, and under the interpreter, which has
no such instructions, an exponential is a polynomial, right to 8e-8 and without a bias.
"""

import torch
import triton
import triton.language as tl

LOG2E = tl.constexpr(1.4426950408889634)
# A step of size FORGET leaves nothing of a state with an A of at most -SLOWEST, to other steps the same as 0.
# They stand for infinity and 0, whose product is not a number.
SLOWEST = 1e-25
FORGET = tl.constexpr(1e30)


def fast_math(dtype: torch.dtype) -> bool:
    """Return whether kernels on inputs of `dtype` use the approximate GPU instructions."""
    return dtype.itemsize < 4 and not triton.knobs.runtime.interpret


@triton.jit
def exp2(x, FAST: tl.constexpr):
    """Compute 2^x; not below 2^-126, the least normal number.

    Otherwise than FAST it is 2^i 2^f with i = round(x); of 2^f a polynomial of degree 6 on [-1/2, 1/2],
    fitted for the least relative error (2e-9 before rounding). The sum 1.5 2^23 + x has i in its low bits: to
    round and to convert are as slow on a GPU as an exponential, to add is eight times faster.
    """
    if FAST:
        return tl.inline_asm_elementwise(
            "ex2.approx.ftz.f32 $0, $1;", "=f,f", [x], dtype=tl.float32, is_pure=True, pack=1
        )
    else:
        x = tl.minimum(tl.maximum(x, -126.0), 128.0)
        b_i = x + 12582912.0
        b_f = x - (b_i - 12582912.0)
        b_p = 0.0096184369176626 + b_f * (0.0013398876180872 + b_f * 0.0001535335904918)
        b_p = 0.6931471824645996 + b_f * (0.2402264773845673 + b_f * (0.0555033236742020 + b_f * b_p))
        b_power = (1.0 + b_f * b_p).to(tl.int32, bitcast=True)
        return (b_power + (b_i.to(tl.int32, bitcast=True) << 23)).to(tl.float32, bitcast=True)


@triton.jit
def reciprocal(x, FAST: tl.constexpr):
    """Compute 1 / x; zero for an infinite x."""
    if FAST:
        return tl.inline_asm_elementwise(
            "rcp.approx.ftz.f32 $0, $1;", "=f,f", [x], dtype=tl.float32, is_pure=True, pack=1
        )
    else:
        return 1.0 / x


@triton.jit
def sigmoid(x, FAST: tl.constexpr):
    """Compute 1 / (1 + exp(-x))."""
    return reciprocal(1.0 + exp2(-x * LOG2E, FAST), FAST)


@triton.jit
def log1p_over(b_e):
    """Compute log(1 + e) / e for e in [0, 1] by a fitted polynomial; error 9e-6, for half precision."""
    b_p = 0.10122200846672058 - b_e * 0.023869043216109276
    b_p = 0.32520657777786255 + b_e * (-0.21004843711853027 + b_e * b_p)
    return 0.9999915957450867 + b_e * (-0.4993613362312317 + b_e * b_p)


@triton.jit
def softplus(x, FAST: tl.constexpr):
    """Compute log(1 + exp(x)) with its relative precision everywhere; e = exp(-|x|) is at most 1.

    For full precision, with s = e / (2 + e): log(1 + e) = 2 atanh(s), and s is at most 1/3, where a short
    polynomial in s^2 (fitted; relative error 1.5e-8) gives atanh.
    """
    b_e = exp2(-tl.abs(x) * LOG2E, FAST)
    if FAST:
        return tl.maximum(x, 0.0) + b_e * log1p_over(b_e)
    else:
        b_s = b_e * reciprocal(b_e + 2.0, FAST)
        b_q = b_s * b_s
        b_p = b_q * (
            0.3333331983251299
            + b_q * (0.20003835452329463 + b_q * (0.14116977575001344 + b_q * 0.13433776651071558))
        )
        return tl.maximum(x, 0.0) + 2.0 * (b_s + b_s * b_p)


@triton.jit
def load_rows(p_row, stride, o_col, m_col, rows, COUNT: tl.constexpr, EVEN: tl.constexpr):
    """Load COUNT rows of a matrix as a tuple of vectors, all requested together.

    From the `rows`-th row on they are zero; EVEN promises that there are COUNT.
    """
    loaded = ()
    for k in tl.static_range(COUNT):
        m_row = m_col if EVEN else m_col & (k < rows)
        loaded = loaded + (tl.load(p_row + k * stride + o_col, mask=m_row, other=0.0),)
    return loaded


@triton.jit
def starts_at(p_starts, rows, COUNT: tl.constexpr, EVEN: tl.constexpr):
    """Return whether a sequence starts at each of COUNT positions; from the `rows`-th on, none does."""
    loaded = ()
    for k in tl.static_range(COUNT):
        b_start = tl.load(p_starts + k) if EVEN else tl.load(p_starts + k, mask=k < rows, other=0)
        loaded = loaded + (b_start != 0,)
    return loaded


@triton.jit
def turned(p_rows, stride, L, TURN: tl.constexpr):
    """Return the pointer to the row that is read first, the last if TURN is -1, and the step to the next."""
    if TURN == -1:
        return p_rows + tl.cast(L - 1, tl.int64) * stride, -stride
    else:
        return p_rows, stride
