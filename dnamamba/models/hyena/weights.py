"""HyenaDNA models as their authors publish them: as transformers' folders, and before that as checkpoints.

The second have the names of HazyResearch/hyena-dna at d553021, as its `standalone_hyenadna.py` reads them.
"""

from typing import Any, cast

import torch
from torch import Tensor

from dnamamba.data.alphabet import get_alphabet
from dnamamba.errors import UserError
from dnamamba.models.base import ModelConfig
from dnamamba.models.hyena.config import HyenaConfig
from dnamamba.models.layouts import Layout, Names, alphabet_of, number, require

# Of a block: ours, and theirs after `layers.N.`; the filter's parts follow from its depth.
BLOCK = {
    **{f"{norm}.{part}": f"{norm}.{part}" for norm in ("norm1", "norm2") for part in ("weight", "bias")},
    **{
        f"mixer.{name}.{part}": f"mixer.{name}.{part}"
        for name in ("in_proj", "out_proj")
        for part in ("weight", "bias")
    },
    **{f"mixer.short_conv.{part}": f"mixer.short_filter.{part}" for part in ("weight", "bias")},
    **{f"{name}.{part}": f"mlp.{name}.{part}" for name in ("fc1", "fc2") for part in ("weight", "bias")},
    "mixer.filter.skip": "mixer.filter_fn.bias",
    "mixer.filter.positions": "mixer.filter_fn.pos_emb.z",
    "mixer.filter.rates": "mixer.filter_fn.modulation.deltas",
}
TIME = "mixer.filter_fn.pos_emb.t"


def _hf_config(document: dict[str, Any], alphabet: str | None) -> ModelConfig:
    # The blocks' norms have 1e-5 whatever the file says.
    require(document, {"hyena_order": 2, "use_bias": True, "train_freq": True, "layer_norm_epsilon": 1e-5})
    width, size = number(document, "d_model", 256), number(document, "vocab_size", 12)
    return HyenaConfig.from_dict(
        {
            "d_model": width,
            "n_layer": number(document, "n_layer", 12),
            "max_length": number(document, "max_seq_len", 1024),
            "alphabet": alphabet_of(size, alphabet),
            "vocab_size": size,
            "d_hidden": document.get("d_inner") or 4 * width,
            "d_filter": number(document, "filter_order", 64),
            "filter_layers": number(document, "num_inner_mlps", 2),
            "position_channels": number(document, "emb_dim", 3),
            "d_conv": number(document, "short_filter_order", 3),
            "frequency": number(document, "activation_freq", 1),
            "tied": document.get("tie_word_embeddings", True),
            "vocab_multiple": number(document, "pad_vocab_size_multiple", 8),
        }
    )


def _hf_document(config: ModelConfig) -> dict[str, Any]:
    hyena = cast(HyenaConfig, config)
    for name, fixed in (("shift", 0.05), ("norm_eps", 1e-5)):
        if getattr(hyena, name) != fixed:
            raise UserError(f"model.{name}: HyenaDNA's is {fixed} (got {getattr(hyena, name)})")
    return {
        "architectures": ["HyenaDNAForCausalLM"],
        "model_type": "hyenadna",
        "d_model": hyena.d_model,
        "n_layer": hyena.n_layer,
        "d_inner": hyena.d_hidden,
        "vocab_size": hyena.vocab_size,
        "max_seq_len": hyena.max_length,
        "emb_dim": hyena.position_channels,
        "filter_order": hyena.d_filter,
        "num_inner_mlps": hyena.filter_layers,
        "short_filter_order": hyena.d_conv,
        "activation_freq": hyena.frequency,
        "hyena_order": 2,
        "use_bias": True,
        "train_freq": True,
        "layer_norm_epsilon": hyena.norm_eps,
        "pad_vocab_size_multiple": hyena.vocab_multiple,
        "pad_token_id": get_alphabet(hyena.alphabet).pad_id,
        "tie_word_embeddings": hyena.tied,
    }


def _checkpoint_config(document: dict[str, Any], alphabet: str | None) -> ModelConfig:
    layer = document["layer"]
    require(document, {"layer_norm_epsilon": 1e-5, "attn_layer_idx": None, "max_position_embeddings": 0})
    fixed = {"_name_": "hyena", "order": 2, "modulate": True, "bias": True, "normalized": False}
    plain = {"num_heads": 1, "inner_factor": 1, "num_blocks": 1, "outer_mixing": False, "activation": "id"}
    none = {"post_order_ffn": False, "linear_mixer": False, "bidirectional": False}
    require(layer, {**fixed, **plain, **none})
    width, size = number(document, "d_model"), number(document, "vocab_size")
    return HyenaConfig.from_dict(
        {
            "d_model": width,
            "n_layer": number(document, "n_layer"),
            "max_length": number(layer, "l_max"),
            "alphabet": alphabet_of(size, alphabet),
            "vocab_size": size,
            "d_hidden": document.get("d_inner") or 4 * width,
            "d_filter": number(layer, "filter_order", 64),
            "filter_layers": number(layer, "num_inner_mlps", 2),
            "position_channels": number(layer, "emb_dim", 3),
            "d_conv": number(layer, "short_filter_order", 3),
            "frequency": number(layer, "w", 1),
            "shift": number(layer, "shift", 0.05),
            "vocab_multiple": number(document, "pad_vocab_size_multiple", 1),
        }
    )


def _names(config: ModelConfig, tops: tuple[str, ...], *, wrapped: bool) -> Names:
    """Return published names.

    Args:
        config: of the model.
        tops: what the names may begin with before `backbone.`; the first is written.
        wrapped: whether mixers and networks may have been saved in wrappers that recompute them.
    """
    hyena = cast(HyenaConfig, config)

    def theirs(name: str) -> tuple[str, ...]:
        inner = name.replace("mixer.", "mixer.layer.").replace("mlp.", "mlp.layer.")
        return tuple(
            dict.fromkeys(top + each for top in tops for each in (name, *([inner] if wrapped else [])))
        )

    table = theirs("backbone.embeddings.word_embeddings.weight")
    heads = tuple(f"{top.removesuffix('hyena.')}lm_head.weight" for top in tops)
    ours = {"backbone.embedding.weight": (*table, *heads) if hyena.tied else table}
    if not hyena.tied:
        ours["backbone.head.weight"] = heads
    for part in ("weight", "bias"):
        ours[f"backbone.norm_f.{part}"] = theirs(f"backbone.ln_f.{part}")
    layers = hyena.filter_layers + 1
    constants: dict[str, Tensor] = {}
    time = torch.linspace(0, 1, hyena.max_length)[None, :, None]
    for i in range(config.depth):
        block, other = f"backbone.layers.{i}.", f"backbone.layers.{i}."
        ours |= {block + name: theirs(other + published) for name, published in BLOCK.items()}
        network = f"{other}mixer.filter_fn.implicit_filter."
        for j in range(layers + 1):  # the sines between the layers share their frequency
            ours[f"{block}mixer.filter.layers.{j}.matrix"] = theirs(f"{network}{2 * j}.weight")
            if j < layers:
                ours[f"{block}mixer.filter.layers.{j}.offset"] = theirs(f"{network}{2 * j}.bias")
        sines = (theirs(f"{network}{2 * j + 1}.freq") for j in range(layers))
        ours[f"{block}mixer.filter.frequency"] = tuple(name for names in sines for name in names)
        constants |= dict.fromkeys(theirs(other + TIME), time)
    return Names(ours, constants, ignored="torchmetrics.")


HYENADNA = Layout(
    name="hyenadna",
    weights_file="model.safetensors",
    recognises=lambda document: document.get("model_type") == "hyenadna",
    config=_hf_config,
    names=lambda config: _names(config, ("hyena.",), wrapped=False),
    document=_hf_document,
)
CHECKPOINT = Layout(
    name="hyenadna checkpoint",
    weights_file="weights.ckpt",
    recognises=lambda document: "model_type" not in document and isinstance(document.get("layer"), dict),
    config=_checkpoint_config,
    names=lambda config: _names(config, ("model.", ""), wrapped=True),
    document=None,
)
LAYOUTS = (HYENADNA, CHECKPOINT)
