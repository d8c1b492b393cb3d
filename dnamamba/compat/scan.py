"""The selective scan as mamba_ssm calls it: over a sequence, and of one position."""

import torch
import torch.nn.functional as F
from torch import Tensor

from dnamamba.kernels import selective_scan
from dnamamba.kernels.precision import softplus, state_dtype, without_autocast


def selective_scan_fn(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    return_last_state: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Scan along the last dimension; everything is differentiable, the last state too.

    Args:
        u: [B, E, L].
        delta: [B, E, L].
        A: [E, N], real.
        B, C: [B, N, L], or [B, G, N, L] of G groups of channels; [E, N] of each channel, the same at every
            position: these run a position at a time, slowly.
        D: [E].
        z: [B, E, L].
        delta_bias: [E].
        delta_softplus: whether the step is softplus(delta + delta_bias).
        return_last_state: return the state [B, E, N] too, fp32 (fp64 for fp64).

    Raises:
        ValueError: a tensor's shape, dtype or device does not go with the others, or A is complex.
    """
    if A.is_complex():
        raise ValueError("A: expected real numbers (got complex); dnamamba's scan is S4D-Real's")
    if B.dim() == 2 or C.dim() == 2:
        y, state = _by_position(u, delta, A, B, C, D, z, delta_bias, delta_softplus)
    else:
        y, state = _by_group(u, delta, A, B, C, D, z, delta_bias, delta_softplus)
    return (y, state) if return_last_state else y


def _by_group(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
) -> tuple[Tensor, Tensor]:
    """Scan each group of channels that share B and C by one call."""
    channels = u.shape[1]
    B, C = (each if each.dim() == 4 else each[:, None] for each in (B, C))
    groups = max(B.shape[1], C.shape[1])
    if any(each.shape[1] not in (1, groups) for each in (B, C)) or channels % groups:
        raise ValueError(
            f"B and C have {B.shape[1]} and {C.shape[1]} groups, expected one number that divides the "
            f"{channels} channels"
        )
    each = channels // groups
    outputs, states = [], []
    for group in range(groups):
        rows = slice(group * each, (group + 1) * each)
        y, state = selective_scan(
            u[:, rows].transpose(1, 2),
            delta[:, rows].transpose(1, 2),
            A[rows],
            B[:, min(group, B.shape[1] - 1)].transpose(1, 2),
            C[:, min(group, C.shape[1] - 1)].transpose(1, 2),
            D=None if D is None else D[rows],
            z=None if z is None else z[:, rows].transpose(1, 2),
            dt_bias=None if delta_bias is None else delta_bias[rows],
            dt_softplus=delta_softplus,
        )
        outputs.append(y.transpose(1, 2))
        states.append(state)
    return torch.cat(outputs, 1), torch.cat(states, 1)


def _by_position(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
) -> tuple[Tensor, Tensor]:
    """Scan position by position, for a B or C of each channel's own."""
    kind = state_dtype(u.dtype)
    with without_autocast(u.device):
        step = delta.to(kind)
        if delta_bias is not None:
            step = step + delta_bias.to(kind)[:, None]
        if delta_softplus:
            step = softplus(step)
        wide_B, wide_C = (_each_channel(each.to(kind), u) for each in (B, C))
        state = torch.zeros(*u.shape[:2], A.shape[1], dtype=kind, device=u.device)
        outputs = []
        for t in range(u.shape[2]):
            drive = (step[..., t] * u[..., t].to(kind))[..., None] * wide_B[..., t]
            state = torch.exp(step[..., t, None] * A.to(kind)) * state + drive
            outputs.append((state * wide_C[..., t]).sum(-1))
        y = torch.stack(outputs, -1)
        if D is not None:
            y = y + D.to(kind)[:, None] * u.to(kind)
        if z is not None:
            y = y * F.silu(z.to(kind))
    return y.to(u.dtype), state


def _each_channel(tensor: Tensor, u: Tensor) -> Tensor:
    """Expand B or C to [B, E, N, L] from any of its layouts."""
    batch, channels, length = u.shape
    if tensor.dim() == 2:
        return tensor[None, :, :, None].expand(batch, -1, -1, length)
    if tensor.dim() == 3:
        tensor = tensor[:, None]
    return tensor.repeat_interleave(channels // tensor.shape[1], 1)


@torch.no_grad()
def selective_state_update(
    state: Tensor,
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    dt_bias: Tensor | None = None,
    dt_softplus: bool = False,
    state_batch_indices: Tensor | None = None,
) -> Tensor:
    """Read one position; `state` is changed to what it is afterwards. There are no gradients.

    Args:
        state: [B, E, N], or [B, H, E, N] of H heads.
        x, dt, z: [B, E] or [B, H, E].
        A: [E, N] or [H, E, N].
        B, C: [B, N], or [B, G, N] of G groups of heads.
        D, dt_bias: [E] or [H, E].
        dt_softplus: whether the step is softplus(dt + dt_bias).
        state_batch_indices: int [B], the rows of a larger `state` that these sequences have.

    Returns:
        What is read out, of the shape and dtype of `x`.

    Raises:
        ValueError: the numbers of heads and groups do not go together.
    """
    heads = state.dim() == 4
    rows = state if state_batch_indices is None else state[state_batch_indices.long()]
    if not heads:
        rows = rows[:, None]
    B, C = (each if each.dim() == 3 else each[:, None] for each in (B, C))
    number, kind = rows.shape[1], state_dtype(state.dtype)
    if any(number % each.shape[1] for each in (B, C)):
        raise ValueError(
            f"B and C have {B.shape[1]} and {C.shape[1]} groups, which do not divide {number} heads"
        )
    B, C = (each.to(kind).repeat_interleave(number // each.shape[1], 1)[:, :, None] for each in (B, C))
    u, step = _heads(x, kind), _heads(dt, kind)
    if dt_bias is not None:
        step = step + (dt_bias if dt_bias.dim() == 2 else dt_bias[None]).to(kind)
    if dt_softplus:
        step = softplus(step)
    decay = torch.exp(step[..., None] * (A if A.dim() == 3 else A[None]).to(kind))
    new = rows.to(kind) * decay + (step * u)[..., None] * B
    y = (new * C).sum(-1)
    if D is not None:
        y = y + (D if D.dim() == 2 else D[None]).to(kind) * u
    if z is not None:
        y = y * F.silu(_heads(z, kind))
    new = new.to(state.dtype) if heads else new[:, 0].to(state.dtype)
    if state_batch_indices is None:
        state.copy_(new)
    else:
        state[state_batch_indices.long()] = new
    return (y if heads else y[:, 0]).to(x.dtype)


def _heads(tensor: Tensor, kind: torch.dtype) -> Tensor:
    """Return [B, E] as [B, 1, E]; inputs with heads unchanged."""
    return (tensor if tensor.dim() == 3 else tensor[:, None]).to(kind)
