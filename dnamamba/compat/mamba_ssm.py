"""A stand-in for mamba_ssm and causal_conv1d, for code that imports them where they are not installed."""

import importlib.util
import math
import sys
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnamamba.compat.conv import causal_conv1d_fn, causal_conv1d_update
from dnamamba.compat.inner import mamba_inner_fn
from dnamamba.compat.scan import selective_scan_fn, selective_state_update


class Mamba(nn.Module):
    """The Mamba-1 mixer with mamba_ssm's arguments and parameter names, for whole sequences.

    Args:
        d_model: width D.
        d_state: states N per inner channel.
        d_conv: width K of the convolution.
        expand: inner channels over D.
        dt_rank: "auto" is ceil(D / 16).
        dt_min, dt_max, dt_init_floor: dt is log-uniform between the first two at initialisation, and at least
            the third.
        conv_bias, bias: whether the convolution, and the projections in and out, have a bias.
        device, dtype: of the parameters.
    """

    def __init__(
        self,
        d_model: int,
        d_state: int = 16,
        d_conv: int = 4,
        expand: int = 2,
        dt_rank: int | str = "auto",
        dt_min: float = 1e-3,
        dt_max: float = 1e-1,
        dt_init_floor: float = 1e-4,
        conv_bias: bool = True,
        bias: bool = False,
        layer_idx: int | None = None,
        use_fast_path: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        where = {"device": device, "dtype": dtype}
        inner = expand * d_model
        rank = math.ceil(d_model / 16) if isinstance(dt_rank, str) else dt_rank
        self.layer_idx = layer_idx
        self.in_proj = nn.Linear(d_model, 2 * inner, bias=bias, **where)
        self.conv1d = nn.Conv1d(inner, inner, d_conv, groups=inner, bias=conv_bias, **where)
        self.x_proj = nn.Linear(inner, rank + 2 * d_state, bias=False, **where)
        self.dt_proj = nn.Linear(rank, inner, **where)
        self.A_log = nn.Parameter(torch.arange(1.0, d_state + 1, device=device).log().repeat(inner, 1))
        self.D = nn.Parameter(torch.ones(inner, device=device))
        self.out_proj = nn.Linear(inner, d_model, bias=bias, **where)
        with torch.no_grad():
            nn.init.uniform_(self.dt_proj.weight, -(rank**-0.5), rank**-0.5)
            dt = torch.empty(inner, device=device).uniform_(math.log(dt_min), math.log(dt_max)).exp()
            dt.clamp_(min=dt_init_floor)
            # The inverse of softplus.
            self.dt_proj.bias.copy_(dt + torch.log(-torch.expm1(-dt)))
        # What mamba_ssm's users ask before they draw or decay a parameter.
        self.dt_proj.bias._no_reinit = True  # type: ignore[attr-defined]
        self.A_log._no_weight_decay = self.D._no_weight_decay = True  # type: ignore[attr-defined]

    def forward(self, hidden_states: Tensor, inference_params: Any = None) -> Tensor:
        """Mix [B, L, D] along L.

        Raises:
            NotImplementedError: `inference_params` is given; single steps are `selective_state_update`.
        """
        if inference_params is not None:
            raise NotImplementedError("dnamamba's stand-in for mamba_ssm reads whole sequences only")
        bias = self.out_proj.bias
        return mamba_inner_fn(
            self.in_proj(hidden_states).transpose(1, 2),
            self.conv1d.weight,
            self.conv1d.bias,
            self.x_proj.weight,
            self.dt_proj.weight,
            self.out_proj.weight,
            bias,
            -torch.exp(self.A_log.float()),
            D=self.D.float(),
            delta_bias=self.dt_proj.bias.float(),
        )


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps), scaled; the bias is None, as mamba_ssm's is."""

    def __init__(self, hidden_size: int, eps: float = 1e-5, device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        self.eps, self.bias = eps, None
        self.weight = nn.Parameter(torch.ones(hidden_size, device=device, dtype=dtype))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, x.shape[-1:], self.weight.to(x.dtype), self.eps)


def _add_norm(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    residual: Tensor | None = None,
    eps: float = 1e-6,
    prenorm: bool = False,
    residual_in_fp32: bool = False,
    is_rms_norm: bool = False,
) -> Any:
    """Return the norm of x + residual, and with `prenorm` that sum too."""
    total = x if residual is None else x.to(residual.dtype) + residual
    if residual_in_fp32:
        total = total.float()
    wide, scale = total.float(), weight.float()
    if is_rms_norm:
        normed = F.rms_norm(wide, wide.shape[-1:], scale, eps)
        normed = normed if bias is None else normed + bias
    else:
        normed = F.layer_norm(wide, wide.shape[-1:], scale, None if bias is None else bias.float(), eps)
    normed = normed.to(x.dtype)
    return (normed, total) if prenorm else normed


def _rms_add_norm(x: Tensor, weight: Tensor, bias: Tensor | None, **options: Any) -> Any:
    return _add_norm(x, weight, bias, is_rms_norm=True, **options)


class Block(nn.Module):
    """Add, norm, mix; the residual stream is returned too."""

    def __init__(
        self,
        dim: int,
        mixer_cls: Any,
        norm_cls: Any,
        fused_add_norm: bool = False,
        residual_in_fp32: bool = False,
    ) -> None:
        super().__init__()
        self.residual_in_fp32, self.fused_add_norm = residual_in_fp32, fused_add_norm
        self.mixer, self.norm = mixer_cls(dim), norm_cls(dim)

    def forward(
        self, hidden_states: Tensor, residual: Tensor | None = None, inference_params: Any = None
    ) -> tuple[Tensor, Tensor]:
        total = hidden_states if residual is None else hidden_states + residual
        normed = self.norm(total.to(self.norm.weight.dtype))
        total = total.float() if self.residual_in_fp32 else total
        return self.mixer(normed, inference_params=inference_params), total


_MODULES: dict[str, dict[str, Any]] = {
    "causal_conv1d": {"causal_conv1d_fn": causal_conv1d_fn, "causal_conv1d_update": causal_conv1d_update},
    "mamba_ssm": {"Mamba": Mamba, "selective_scan_fn": selective_scan_fn, "mamba_inner_fn": mamba_inner_fn},
    "mamba_ssm.modules.mamba_simple": {"Mamba": Mamba, "Block": Block},
    "mamba_ssm.ops.selective_scan_interface": {
        "selective_scan_fn": selective_scan_fn,
        "mamba_inner_fn": mamba_inner_fn,
    },
    "mamba_ssm.ops.triton.selective_state_update": {"selective_state_update": selective_state_update},
    "mamba_ssm.ops.triton.layernorm": {
        "RMSNorm": RMSNorm,
        "layer_norm_fn": _add_norm,
        "rms_norm_fn": _rms_add_norm,
    },
}
_MODULES["mamba_ssm.ops.triton.layer_norm"] = _MODULES["mamba_ssm.ops.triton.layernorm"]


def stand_in_for_mamba_ssm() -> None:
    """Let this process import `mamba_ssm` and `causal_conv1d`: Mamba-1 on our kernels.

    Published models whose code needs those packages, such as Caduceus, then run with nothing compiled, on a
    CPU too. What is not here (Mamba-2, the cache of single steps) can't be imported.

    Raises:
        RuntimeError: one of the two is installed; remove it, or use it.

    >>> from dnamamba import compat
    >>> compat.stand_in_for_mamba_ssm()
    >>> from mamba_ssm.modules.mamba_simple import Mamba
    """
    for package in ("mamba_ssm", "causal_conv1d"):
        known = sys.modules.get(package)
        if known is not None:
            if getattr(known, "_dnamamba", False):
                return
            raise RuntimeError(f"{package} is imported already: dnamamba does not replace it")
        if importlib.util.find_spec(package) is not None:
            raise RuntimeError(f"{package} is installed: dnamamba does not replace it")
    for name, members in _MODULES.items():
        parts = name.split(".")
        for end in range(1, len(parts) + 1):
            _module(".".join(parts[:end])).__dict__.update(members if end == len(parts) else {})


def _module(name: str) -> ModuleType:
    """Return the module of this name, made as an attribute of its parent package if it is missing."""
    if name not in sys.modules:
        made = ModuleType(name, "dnamamba's stand-in.")
        made.__path__ = []
        made.__dict__["_dnamamba"] = True
        # transformers asks for a spec and a version.
        made.__spec__ = importlib.util.spec_from_loader(name, None, is_package=True)
        made.__dict__["__version__"] = "0"
        sys.modules[name] = made
        parent, _, last = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], last, made)
    return sys.modules[name]
