"""The numerical rules that every backend keeps."""

import torch
import torch.nn.functional as F
from torch import Tensor

# Above it softplus(x) is x: log1p(exp(-40)) = 4e-18 is below half an ulp of 40 even in fp64.
SOFTPLUS_LINEAR_FROM = 40.0


def state_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype in which a recurrence over inputs of `dtype` is computed: fp32, or fp64 for fp64."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def softplus(x: Tensor) -> Tensor:
    """Return log(1 + exp(x)) elementwise, to the precision of `x` everywhere."""
    return F.softplus(x, threshold=SOFTPLUS_LINEAR_FROM)


def without_autocast(device: torch.device) -> torch.autocast:
    """Return a context in which autocast changes no dtype: a recurrence chooses its own."""
    return torch.autocast(device_type=device.type, enabled=False)


def dtype_of_products(x: Tensor) -> torch.dtype:
    """Return the dtype of matrix products with `x`, of any shape: autocast's where it is on."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
