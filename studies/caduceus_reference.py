"""Activations of Caduceus' published code, for tests/models/test_caduceus.py.

    git clone https://github.com/kuleshov-group/caduceus && git -C caduceus checkout 0060a6d
    pip install "transformers<5" && python studies/caduceus_reference.py caduceus tests/models/caduceus

The published code runs as it is, on a CPU. What it needs of mamba_ssm, which does not install there, is
written here from the papers, naively: the Mamba block a position at a time, the norms with their residual.
Of each variant it writes config.json, the state dict with every name of a shared tensor, and activations.
"""

import math
import sys
import types
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

VARIANTS: dict[str, dict[str, Any]] = {
    "ps": {"rcps": True, "fused_add_norm": True, "n_layer": 3},
    "ps_unfused": {"rcps": True, "fused_add_norm": False, "n_layer": 2},
    "ph": {"rcps": False, "fused_add_norm": True, "n_layer": 2},
    "ph_multiply": {"rcps": False, "bidirectional_strategy": "ew_multiply", "n_layer": 2},
}
COMPLEMENT = {i: i for i in range(12)} | {7: 10, 8: 9, 9: 8, 10: 7}


class Mamba(nn.Module):
    """The Mamba-1 block's mixer, a position at a time, with the names of mamba_ssm's parameters."""

    def __init__(self, d_model: int, d_state: int = 16, d_conv: int = 4, expand: int = 2, **_: Any) -> None:
        super().__init__()
        inner, self.rank, self.states = expand * d_model, math.ceil(d_model / 16), d_state
        self.in_proj = nn.Linear(d_model, 2 * inner, bias=False)
        self.conv1d = nn.Conv1d(inner, inner, d_conv, groups=inner, padding=d_conv - 1)
        self.x_proj = nn.Linear(inner, self.rank + 2 * d_state, bias=False)
        self.dt_proj = nn.Linear(self.rank, inner)
        self.A_log = nn.Parameter(torch.arange(1.0, d_state + 1).log().repeat(inner, 1))
        self.D = nn.Parameter(torch.ones(inner))
        self.out_proj = nn.Linear(inner, d_model, bias=False)

    def forward(self, x: Tensor, inference_params: None = None) -> Tensor:
        length = x.shape[1]
        u, z = self.in_proj(x).chunk(2, dim=-1)
        u = F.silu(self.conv1d(u.transpose(1, 2))[..., :length].transpose(1, 2))
        low, B, C = self.x_proj(u).split([self.rank, self.states, self.states], dim=-1)
        dt, A = F.softplus(self.dt_proj(low)), -self.A_log.exp()
        h, y = torch.zeros(*u[:, 0].shape, self.states), []
        for t in range(length):
            h = torch.exp(dt[:, t, :, None] * A) * h + (dt[:, t] * u[:, t])[..., None] * B[:, t, None]
            y.append((h * C[:, t, None]).sum(-1))
        return self.out_proj((torch.stack(y, 1) + self.D * u) * F.silu(z))


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps), scaled; it has a bias that is None, as mamba_ssm's."""

    def __init__(self, size: int, eps: float = 1e-5, **_: Any) -> None:
        super().__init__()
        self.eps, self.bias = eps, None
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * self.weight


def rms_norm_fn(
    x: Tensor,
    weight: Tensor,
    bias: None,
    residual: Tensor | None = None,
    prenorm: bool = False,
    residual_in_fp32: bool = False,
    eps: float = 1e-5,
) -> Any:
    """Return the norm of x + residual, and that sum with `prenorm`."""
    total = x if residual is None else x + residual
    normed = total * torch.rsqrt(total.square().mean(-1, keepdim=True) + eps) * weight
    return (normed, total) if prenorm else normed


class Block(nn.Module):
    """Add, norm, mix; the residual stream is carried along."""

    def __init__(
        self, dim: int, mixer_cls: Any, norm_cls: Any, fused_add_norm: bool, residual_in_fp32: bool
    ) -> None:
        super().__init__()
        self.mixer, self.norm = mixer_cls(dim), norm_cls(dim)

    def forward(
        self, x: Tensor, residual: Tensor | None, inference_params: None = None
    ) -> tuple[Tensor, Tensor]:
        total = x if residual is None else x + residual
        return self.mixer(self.norm(total)), total


def stand_in() -> None:
    """Let the published code find in mamba_ssm what is written here."""
    found = {
        "mamba_ssm.modules.mamba_simple": {"Mamba": Mamba, "Block": Block},
        "mamba_ssm.ops.triton.layernorm": {
            "RMSNorm": RMSNorm,
            "layer_norm_fn": None,
            "rms_norm_fn": rms_norm_fn,
        },
    }
    for name, members in found.items():
        parts = name.split(".")
        for end in range(1, len(parts) + 1):
            sys.modules.setdefault(".".join(parts[:end]), types.ModuleType(".".join(parts[:end])))
        for member, value in members.items():
            setattr(sys.modules[name], member, value)
    # Asked for as a condition only.
    sys.modules["mamba_ssm.ops.triton.layernorm"].layer_norm_fn = rms_norm_fn  # type: ignore[attr-defined]


def write(folder: Path, changes: dict[str, Any]) -> None:
    """Write a folder of one variant: random weights, and the outputs of the published code."""
    from caduceus.configuration_caduceus import CaduceusConfig
    from caduceus.modeling_caduceus import CaduceusForMaskedLM

    torch.manual_seed(0)
    config = CaduceusConfig(
        d_model=8, vocab_size=12, ssm_cfg={"d_state": 4}, complement_map=dict(COMPLEMENT), **changes
    )
    model = CaduceusForMaskedLM(config).eval()
    with torch.no_grad():  # away from the initial values, which hide a wrong order
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    streams: list[Tensor] = []
    for layer in model.caduceus.backbone.layers:
        layer.register_forward_hook(lambda _, given, made: streams.append(made[0] + made[1]))
    tokens = torch.cat([torch.randint(7, 12, (2, 19)), torch.randint(0, 12, (1, 19))])
    hidden = model.caduceus(tokens, return_dict=True).last_hidden_state
    streams.clear()
    logits = model(tokens, return_dict=True).logits
    weight = torch.randn_like(logits)
    (logits * weight).sum().backward()
    kept = {"tokens": tokens, "weight": weight, "logits": logits, "hidden": hidden}
    kept |= {f"after_{i}": stream for i, stream in enumerate(streams, start=1)}
    for name, parameter in model.named_parameters():
        if "embeddings" in name or "layers.0" in name:
            kept[f"gradient.{name}"] = parameter.grad
    model.config.save_pretrained(folder)
    for file, tensors in (("model", model.state_dict()), ("kept", kept)):
        own = {name: value.detach().clone().contiguous() for name, value in tensors.items()}
        save_file(own, folder / f"{file}.safetensors")


def main() -> None:
    """Write every variant."""
    checkout, out = map(Path, sys.argv[1:])
    sys.path.insert(0, str(checkout))
    stand_in()
    for name, changes in VARIANTS.items():
        write(out / name, changes)


if __name__ == "__main__":
    main()
