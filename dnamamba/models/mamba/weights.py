"""Mamba-1 models of other packages: mamba_ssm's checkpoints and transformers' `MambaForCausalLM` folders."""

from typing import Any, cast

from dnamamba.errors import UserError
from dnamamba.models.base import ModelConfig
from dnamamba.models.layouts import Layout, Names, alphabet_of, number, require
from dnamamba.models.mamba.config import MambaConfig

MIXER = (
    "in_proj.weight",
    "conv1d.weight",
    "conv1d.bias",
    "x_proj.weight",
    "dt_proj.weight",
    "dt_proj.bias",
    "A_log",
    "D",
    "out_proj.weight",
)
# Of mamba_ssm's `ssm_cfg`: what changes only how weights are drawn or computed.
_DRAWN = {"dt_min", "dt_max", "dt_init", "dt_scale", "dt_init_floor", "use_fast_path"}


def ssm_settings(document: dict[str, Any]) -> dict[str, Any]:
    """Return our names for mamba_ssm's `ssm_cfg`, of a Mamba-1 block.

    Raises:
        UserError: a setting that our block does not have.
    """
    given = document.get("ssm_cfg") or {}
    if not isinstance(given, dict):
        raise UserError(f"ssm_cfg: expected a map (got {given!r}); give another model")
    require(given, {"layer": "Mamba1", "conv_bias": True, "bias": False})
    known = {name: given[name] for name in ("d_state", "d_conv", "expand") if name in given}
    rank = given.get("dt_rank", "auto")
    known["dt_rank"] = None if rank == "auto" else rank
    known |= {name: given[name] for name in ("dt_min", "dt_max", "dt_init_floor") if name in given}
    unknown = set(given) - {*known, *_DRAWN, "layer", "conv_bias", "bias"}
    if unknown:
        raise UserError(f"ssm_cfg: unknown settings {', '.join(sorted(unknown))}; give a Mamba-1 model")
    return known


def ssm_document(config: MambaConfig) -> dict[str, Any]:
    """Return the inverse of `ssm_settings`."""
    names = ("d_state", "d_conv", "expand", "dt_rank", "dt_min", "dt_max", "dt_init_floor")
    return {name: getattr(config, name) for name in names}


def _state_spaces_config(document: dict[str, Any], alphabet: str | None) -> ModelConfig:
    require(
        document,
        {
            "rms_norm": True,
            "d_intermediate": 0,
            "attn_layer_idx": [],
            "attn_cfg": {},
        },
    )
    known = {
        "d_model",
        "n_layer",
        "vocab_size",
        "ssm_cfg",
        "rms_norm",
        "residual_in_fp32",
        "fused_add_norm",
        "pad_vocab_size_multiple",
        "tie_embeddings",
        "d_intermediate",
        "attn_layer_idx",
        "attn_cfg",
    }
    unknown = set(document) - known
    if unknown:
        raise UserError(f"unknown settings {', '.join(sorted(unknown))}; give a Mamba-1 model of mamba_ssm")
    size = number(document, "vocab_size")
    return MambaConfig.from_dict(
        dict(
            d_model=number(document, "d_model"),
            n_layer=number(document, "n_layer"),
            alphabet=alphabet_of(size, alphabet),
            vocab_size=size,
            vocab_multiple=number(document, "pad_vocab_size_multiple", 8),
            tied=document.get("tie_embeddings", True),
            **ssm_settings(document),
        )
    )


def _state_spaces_document(config: ModelConfig) -> dict[str, Any]:
    mamba = cast(MambaConfig, config)
    if mamba.norm_eps != 1e-5:
        raise UserError(f"model.norm_eps: mamba_ssm's is 1e-05 (got {mamba.norm_eps}); choose format=hf")
    return {
        "d_model": mamba.d_model,
        "d_intermediate": 0,
        "n_layer": mamba.n_layer,
        "vocab_size": mamba.vocab_size,
        "ssm_cfg": {"layer": "Mamba1", **ssm_document(mamba)},
        "attn_layer_idx": [],
        "attn_cfg": {},
        "rms_norm": True,
        "residual_in_fp32": True,
        "fused_add_norm": True,
        "pad_vocab_size_multiple": mamba.vocab_multiple,
        "tie_embeddings": mamba.tied,
    }


def _hf_config(document: dict[str, Any], alphabet: str | None) -> ModelConfig:
    require(document, {"use_bias": False, "use_conv_bias": True, "hidden_act": "silu"})
    width, expand = number(document, "hidden_size", 768), number(document, "expand", 2)
    rank, size = document.get("time_step_rank", "auto"), number(document, "vocab_size", 50280)
    return MambaConfig.from_dict(
        {
            "d_model": width,
            "n_layer": number(document, "num_hidden_layers", 32),
            "alphabet": alphabet_of(size, alphabet),
            "vocab_size": size,
            "d_state": number(document, "state_size", 16),
            "d_conv": number(document, "conv_kernel", 4),
            "expand": int(expand) if expand == int(expand) else expand,
            "dt_rank": None if rank == "auto" else rank,
            "dt_min": number(document, "time_step_min", 1e-3),
            "dt_max": number(document, "time_step_max", 1e-1),
            "dt_init_floor": number(document, "time_step_floor", 1e-4),
            "norm_eps": number(document, "layer_norm_epsilon", 1e-5),
            "vocab_multiple": 8 if size % 8 == 0 else 1,
            "tied": document.get("tie_word_embeddings", True),
        }
    )


def _hf_document(config: ModelConfig) -> dict[str, Any]:
    mamba = cast(MambaConfig, config)
    return {
        "architectures": ["MambaForCausalLM"],
        "model_type": "mamba",
        "hidden_size": mamba.d_model,
        "intermediate_size": mamba.d_inner,
        "num_hidden_layers": mamba.n_layer,
        "vocab_size": mamba.padded_vocab_size,
        "state_size": mamba.d_state,
        "conv_kernel": mamba.d_conv,
        "expand": mamba.expand,
        "time_step_rank": mamba.dt_rank,
        "time_step_min": mamba.dt_min,
        "time_step_max": mamba.dt_max,
        "time_step_floor": mamba.dt_init_floor,
        "layer_norm_epsilon": mamba.norm_eps,
        "hidden_act": "silu",
        "use_bias": False,
        "use_conv_bias": True,
        "residual_in_fp32": True,
        # With true, transformers 5.23 divides each out_proj again after it has loaded it.
        "rescale_prenorm_residual": False,
        "tie_word_embeddings": mamba.tied,
        "pad_token_id": None,
        "bos_token_id": None,
        "eos_token_id": None,
    }


def _names(config: ModelConfig, embedding: str, *, repeated: bool) -> Names:
    """Return both packages' names, which differ in the embedding alone; a tied head repeats it."""
    ours: dict[str, tuple[str, ...]] = {"backbone.norm_f.weight": ("backbone.norm_f.weight",)}
    if cast(MambaConfig, config).tied:
        ours["backbone.embedding.weight"] = (embedding, "lm_head.weight")
    else:
        ours |= {"backbone.embedding.weight": (embedding,), "backbone.head.weight": ("lm_head.weight",)}
    for i in range(config.depth):
        for part in ("norm.weight", *(f"mixer.{name}" for name in MIXER)):
            ours[f"backbone.layers.{i}.{part}"] = (f"backbone.layers.{i}.{part}",)
    return Names(ours, repeated=repeated)


def _state_spaces_names(config: ModelConfig) -> Names:
    return _names(config, "backbone.embedding.weight", repeated=True)


def _hf_names(config: ModelConfig) -> Names:
    return _names(config, "backbone.embeddings.weight", repeated=False)


STATE_SPACES = Layout(
    name="state_spaces",
    weights_file="pytorch_model.bin",
    recognises=lambda document: (
        not {"model_type", "layer"} & set(document) and {"d_model", "n_layer"} <= set(document)
    ),
    config=_state_spaces_config,
    names=_state_spaces_names,
    document=_state_spaces_document,
)
HF = Layout(
    name="hf",
    weights_file="model.safetensors",
    recognises=lambda document: document.get("model_type") == "mamba",
    config=_hf_config,
    names=_hf_names,
    document=_hf_document,
)
LAYOUTS = (STATE_SPACES, HF)
