"""Many sequences in one row, one behind the other: where each begins, for operators that start anew there.

A row of starts, uint8 [B, L], is 1 where a sequence begins and 0 elsewhere. At a start a scan forgets its
state (the decay of that step is 0) and a convolution sees zeros before it: each sequence is what it would be
alone.
"""

import numpy as np
import torch
from torch import Tensor


def starts_of(cu_seqlens: Tensor, x: Tensor) -> Tensor:
    """Return uint8 [1, L], 1 where a sequence of `x` begins.

    Args:
        cu_seqlens: int32 or int64 [n + 1], the positions before each sequence, then all L of them: 0, the
            length of the first, that of the first two, ...
        x: [1, L, ...], the sequences one behind the other.

    Raises:
        ValueError: they are not the cumulative lengths of x, or a sequence is empty.

    >>> starts_of(torch.tensor([0, 2, 5]), torch.zeros(1, 5)).tolist()
    [[1, 0, 1, 0, 0]]
    """
    if not isinstance(cu_seqlens, Tensor):
        raise ValueError(f"cu_seqlens is {type(cu_seqlens).__name__}, expected an int32 or int64 tensor")
    if cu_seqlens.dim() != 1 or cu_seqlens.dtype not in (torch.int32, torch.int64):
        raise ValueError(
            f"cu_seqlens is {cu_seqlens.dtype} {tuple(cu_seqlens.shape)}, expected int32 or int64 (n + 1,)"
        )
    if x.shape[0] != 1:
        raise ValueError(f"cu_seqlens needs one row of sequences, expected (1, L, ..), got {tuple(x.shape)}")
    ends = cu_seqlens.cpu().numpy().astype(np.int64)  # in which differences of int32 can't wrap around
    if ends.size < 2 or ends[0] != 0 or ends[-1] != x.shape[1]:
        raise ValueError(
            f"cu_seqlens goes from {ends[:1].tolist()} to {ends[-1:].tolist()}, expected 0 to {x.shape[1]}"
        )
    lengths = np.diff(ends)
    if (lengths < 1).any():
        number = int((lengths < 1).argmax())
        raise ValueError(
            f"cu_seqlens: sequence {number} has {lengths[number]} positions, expected at least 1"
        )
    starts = torch.zeros(1, x.shape[1], dtype=torch.uint8)
    starts[0, torch.from_numpy(ends[:-1])] = 1
    return starts.to(x.device)


def refuse_before(starts: Tensor | None, **others: object) -> None:
    """Refuse what stands before the first sequence, and a row on several ranks, with starts [B, L].

    Raises:
        ValueError: there are starts and one of `others`.
    """
    given = [name for name, value in others.items() if value is not None]
    if starts is not None and given:
        raise ValueError(f"cu_seqlens goes without {' and '.join(given)}: every sequence begins anew")


def places(starts: Tensor, most: int) -> Tensor:
    """Return uint8 [B, L], each position's place in its sequence, at most `most`.

    Args:
        starts: [B, L].
        most: below 256.
    """
    position = torch.arange(starts.shape[1], device=starts.device)
    begin = torch.where(starts != 0, position, 0).cummax(1).values
    return (position - begin).clamp(max=most).to(torch.uint8)
