"""Caduceus models as their authors publish them (kuleshov-group/caduceus at 0060a6d); PlantCaduceus too."""

from typing import Any, cast

import torch

from dnamamba.errors import UserError
from dnamamba.models.base import ModelConfig
from dnamamba.models.caduceus.backbone import complement_table
from dnamamba.models.caduceus.config import CaduceusConfig
from dnamamba.models.layouts import Layout, Names, alphabet_of, number, require
from dnamamba.models.mamba.weights import MIXER, ssm_document, ssm_settings

SHARED = ("in_proj.weight", "out_proj.weight")


def _config(document: dict[str, Any], alphabet: str | None) -> ModelConfig:
    _refuse_later_code(document)
    require(
        document,
        {
            "rms_norm": True,
            "bidirectional": True,
            "bidirectional_weight_tie": True,
            "tie_word_embeddings": True,
        },
    )
    equivariant = bool(document.get("rcps", False))
    size, multiple = number(document, "vocab_size"), number(document, "pad_vocab_size_multiple", 8)
    config = CaduceusConfig.from_dict(
        dict(
            d_model=number(document, "d_model"),
            n_layer=number(document, "n_layer"),
            alphabet=_alphabet(document, size, alphabet),
            vocab_size=size,
            vocab_multiple=multiple,
            norm_eps=number(document, "norm_epsilon", 1e-5),
            equivariant=equivariant,
            strategy=document.get("bidirectional_strategy") or "add",
            exchange=equivariant and bool(document.get("fused_add_norm", True)),
            **ssm_settings(document),
        )
    )
    if equivariant:
        _check_complement(document.get("complement_map"), config)
    return config


def _refuse_later_code(document: dict[str, Any]) -> None:
    """Refuse PlantCAD2 and what else its code wrote: blocks of Mamba-2, and settings in groups of their own.

    Raises:
        UserError: naming the group that tells.
    """
    if "layer_cfg" in document:
        raise UserError(
            "layer_cfg: a PlantCAD2 model, whose blocks are Mamba-2, is not supported (got "
            f"{document['layer_cfg']!r}); give a Caduceus or PlantCaduceus model, whose blocks are Mamba-1"
        )


def _alphabet(document: dict[str, Any], size: int, alphabet: str | None) -> str:
    """Return the alphabet in which complementary ids are complementary bases."""
    pairs = document.get("complement_map")
    if alphabet is None and isinstance(pairs, dict):
        for name, first in (("characters", 7), ("mlm", 3)):
            if [pairs.get(str(first + i)) for i in range(4)] == [first + 3 - i for i in range(4)]:
                return name
    return alphabet_of(size, alphabet)


def _check_complement(pairs: Any, config: CaduceusConfig) -> None:
    """Refuse complements of ids other than the alphabet's; an id that is left out is its own complement."""
    expected = complement_table(config).tolist()
    given = pairs if isinstance(pairs, dict) else {}
    found = [given.get(str(i), i) for i in range(len(expected))]
    if not given or found != expected:
        raise UserError(
            f"complement_map: expected {expected}, of the alphabet {config.alphabet} (got {pairs!r}); "
            "name the right alphabet in a file dnamamba.json"
        )


def _document(config: ModelConfig) -> dict[str, Any]:
    caduceus = cast(CaduceusConfig, config)
    pairs = complement_table(caduceus).tolist()
    return {
        "architectures": ["CaduceusForMaskedLM"],
        "model_type": "caduceus",
        "d_model": caduceus.d_model,
        "n_layer": caduceus.n_layer,
        "vocab_size": caduceus.padded_vocab_size,
        "ssm_cfg": ssm_document(caduceus),
        "rms_norm": True,
        "residual_in_fp32": True,
        "fused_add_norm": caduceus.exchange,
        "pad_vocab_size_multiple": caduceus.vocab_multiple,
        "norm_epsilon": caduceus.norm_eps,
        "bidirectional": True,
        "bidirectional_strategy": caduceus.strategy,
        "bidirectional_weight_tie": True,
        "rcps": caduceus.equivariant,
        "complement_map": {str(i): pair for i, pair in enumerate(pairs)} if caduceus.equivariant else None,
    }


def _names(config: ModelConfig) -> Names:
    """Return published names; norms are wrapped if not fused.

    A shared tensor is read under any of its names, and written under all: transformers 4.46 takes a file's
    tensors in the place of a model's own, so that a name that is missing is left without values.
    """
    caduceus = cast(CaduceusConfig, config)
    equivariant = caduceus.equivariant
    top, inner = "caduceus.backbone.", ".submodule" if equivariant else ""
    norm = ".submodule" if equivariant and not caduceus.exchange else ""
    table = f"{top}embeddings.word_embeddings." + ("embedding." if equivariant else "")
    head = "lm_head.lm_head.weight" if equivariant else "lm_head.weight"
    ours = {
        "backbone.embedding.weight": (f"{table}weight", head),
        "backbone.norm_f.weight": (f"{top}norm_f{norm}.weight",),
    }
    for i in range(config.depth):
        block, mixer = f"backbone.layers.{i}", f"{top}layers.{i}.mixer{inner}"
        ours[f"{block}.norm.weight"] = (f"{top}layers.{i}.norm{norm}.weight",)
        for part in SHARED:
            ours[f"{block}.mixer.{part}"] = (f"{mixer}.mamba_fwd.{part}", f"{mixer}.mamba_rev.{part}")
        for part in (part for part in MIXER if part not in SHARED):
            ours[f"{block}.mixer.forward_scan.{part}"] = (f"{mixer}.mamba_fwd.{part}",)
            ours[f"{block}.mixer.reverse_scan.{part}"] = (f"{mixer}.mamba_rev.{part}",)
    constants = {}
    if equivariant:
        names = (f"{top}embeddings.word_embeddings.complement_map", "lm_head.complement_map")
        constants = {name: complement_table(caduceus).to(torch.int64) for name in names}
    return Names(ours, constants, repeated=True)


CADUCEUS = Layout(
    name="caduceus",
    weights_file="model.safetensors",
    recognises=lambda document: document.get("model_type") == "caduceus",
    config=_config,
    names=_names,
    document=_document,
)
LAYOUTS = (CADUCEUS,)
