"""The short causal convolution as causal-conv1d calls it: over a sequence, and of the next positions."""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from dnamamba.kernels import causal_conv1d
from dnamamba.kernels.precision import state_dtype, without_autocast


def causal_conv1d_fn(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    seq_idx: Tensor | None = None,
    initial_states: Tensor | None = None,
    return_final_states: bool = False,
    final_states_out: Tensor | None = None,
    activation: str | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """Convolve along the last dimension; everything is differentiable.

    Args:
        x: [B, E, L].
        weight: [E, K].
        bias: [E].
        seq_idx: int [B, L], the number of the sequence that a position belongs to, where several are packed
            into a row: none reads another. Where it is negative the result is zero.
        initial_states: [B, E, K-1], the inputs before the first.
        return_final_states: return the last K-1 inputs [B, E, K-1] too.
        final_states_out: where to write these.
        activation: "silu", "swish" or none.

    Raises:
        ValueError: a tensor's shape, dtype or device does not go with the others, or two arguments do not.
    """
    silu = _is_silu(activation)
    if seq_idx is not None:
        if initial_states is not None or return_final_states:
            raise ValueError(
                "seq_idx: packed sequences have neither initial nor final states; leave these out"
            )
        return _packed(x, weight, bias, seq_idx, silu)
    y, state = causal_conv1d(
        x.transpose(1, 2),
        weight,
        bias,
        activation="silu" if silu else None,
        initial_state=None if initial_states is None else initial_states.transpose(1, 2),
    )
    y, state = y.transpose(1, 2), state.transpose(1, 2)
    if not return_final_states:
        return y
    if final_states_out is None:
        return y, state
    final_states_out.copy_(state)
    return y, final_states_out


@torch.no_grad()
def causal_conv1d_update(
    x: Tensor,
    conv_state: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    activation: str | None = None,
    cache_seqlens: Tensor | None = None,
    conv_state_indices: Tensor | None = None,
) -> Tensor:
    """Convolve the next positions; `conv_state` is changed to what it is afterwards. No gradients.

    Args:
        x: [B, E], or [B, E, L] of several positions.
        conv_state: [B, E, S], the last S inputs, S at least K-1.
        weight: [E, K].
        bias: [E].
        activation: "silu", "swish" or none.
        cache_seqlens: int [B], how many positions were read before: `conv_state` is then a ring, and input t
            is at t modulo S.
        conv_state_indices: int [B], the rows of a larger `conv_state` that these sequences have.

    Returns:
        Of the shape and dtype of `x`.

    Raises:
        ValueError: `conv_state` is too short, or a shape does not go with the others.
    """
    silu, taps, size = _is_silu(activation), weight.shape[1], conv_state.shape[2]
    if size < taps - 1:
        raise ValueError(f"conv_state holds {size} inputs, expected at least {taps - 1} for {taps} taps")
    new = x[..., None] if x.dim() == 2 else x
    rows = conv_state if conv_state_indices is None else conv_state[conv_state_indices.long()]
    before = torch.arange(1 - taps, 0, device=x.device)
    if cache_seqlens is None:
        known = rows[..., size + 1 - taps :]
        after = torch.cat([rows, new.to(rows.dtype)], -1)[..., -size:]
    else:
        read = cache_seqlens.long()[:, None]
        place = ((read + before) % size)[:, None].expand(-1, rows.shape[1], -1)
        known = rows.gather(2, place)
        # Of more positions than the ring has places, the last ones stay.
        kept = new[..., -size:]
        written = torch.arange(new.shape[2] - kept.shape[2], new.shape[2], device=x.device)
        place = ((read + written) % size)[:, None].expand(-1, rows.shape[1], -1)
        after = rows.scatter(2, place, kept.to(rows.dtype))
    y = causal_conv1d_fn(
        new, weight, bias, initial_states=known.to(new.dtype), activation="silu" if silu else None
    )
    if conv_state_indices is None:
        conv_state.copy_(after)
    else:
        conv_state[conv_state_indices.long()] = after
    return cast(Tensor, y)[..., 0] if x.dim() == 2 else cast(Tensor, y)


def _is_silu(activation: str | None) -> bool:
    if activation not in (None, "silu", "swish"):
        raise ValueError(f"activation: expected silu, swish or None (got {activation!r})")
    return activation is not None


def _packed(x: Tensor, weight: Tensor, bias: Tensor | None, seq_idx: Tensor, silu: bool) -> Tensor:
    """Convolve packed sequences as a sum over taps, each of which reads its own sequence alone."""
    kind, taps, length = state_dtype(x.dtype), weight.shape[1], x.shape[2]
    with without_autocast(x.device):
        inputs, filters = x.to(kind), weight.to(kind)
        y = torch.zeros_like(inputs) if bias is None else bias.to(kind)[:, None].expand_as(inputs)
        for back in range(min(taps, length)):
            earlier = F.pad(inputs, (back, 0))[..., :length]
            same = F.pad(seq_idx, (back, 0), value=-1)[..., :length] == seq_idx
            y = y + filters[:, taps - 1 - back, None] * earlier * same[:, None]
        y = F.silu(y) if silu else y
        return (y * (seq_idx >= 0)[:, None]).to(x.dtype)
