"""Argument checks shared by the public functions: a mistake is named before any kernel sees it."""

from collections.abc import Sequence

from torch import Tensor


def require_tensor(name: str, tensor: Tensor, shape: Sequence[int], like: Tensor, source: str) -> None:
    """Require a floating-point `tensor` of `shape` on the device of `like`.

    `source` names the argument that `like` is and that `shape` follows from.

    Args:
        name: of the argument, for the message.
        tensor: the argument.
        shape: that it must have.
        like: on whose device it must be.
        source: where `shape` comes from, for the message.

    Raises:
        ValueError: naming the argument, what it is and what it should be.
    """
    if tuple(tensor.shape) != tuple(shape):
        raise ValueError(
            f"{name} has shape {tuple(tensor.shape)}, expected {tuple(shape)} "
            f"to go with {source} of shape {tuple(like.shape)}"
        )
    if not tensor.is_floating_point():
        raise ValueError(f"{name} has dtype {tensor.dtype}, expected a floating-point dtype")
    if tensor.device != like.device:
        raise ValueError(f"{name} is on {tensor.device}, but {source} is on {like.device}")


def require_sequence(name: str, tensor: Tensor) -> tuple[int, int, int]:
    """Require a non-empty floating-point [B, L, E] tensor and return its three sizes.

    Raises:
        ValueError: naming the argument, what it is and what it should be.
    """
    if tensor.dim() != 3:
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}, expected three dimensions [B, L, E]")
    if tensor.numel() == 0:
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}, expected no empty dimension")
    if not tensor.is_floating_point():
        raise ValueError(f"{name} has dtype {tensor.dtype}, expected a floating-point dtype")
    batch, length, channels = tensor.shape
    return batch, length, channels
