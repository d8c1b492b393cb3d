"""Activations of HyenaDNA's published code, for tests/models/test_hyena.py.

    git clone https://github.com/HazyResearch/hyena-dna && git -C hyena-dna checkout d553021
    pip install einops && python studies/hyena_reference.py hyena-dna tests/models/hyena

The published code runs as it is, on a CPU; what it imports and does not use here has a stand-in. Written are
config.json and weights.ckpt as the first published models have them, and activations.
"""

import json
import sys
import types
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

LONGEST = 34
CONFIG: dict[str, Any] = {
    "d_model": 8,
    "n_layer": 2,
    "d_inner": 32,
    "vocab_size": 12,
    "resid_dropout": 0.0,
    "embed_dropout": 0.1,
    "residual_in_fp32": True,
    "pad_vocab_size_multiple": 8,
    "layer": {
        "_name_": "hyena",
        "emb_dim": 5,
        "filter_order": 6,
        "l_max": LONGEST,
        "modulate": True,
        "w": 10,
        "lr": 6e-4,
        "wd": 0.0,
        "lr_pos_emb": 0.0,
    },
}


def stand_in() -> None:
    """Let the published code find what it imports and does not use here."""
    found = {
        "torchvision.ops": {"StochasticDepth": lambda *_, **__: nn.Identity()},
        "transformers.tokenization_utils": {"AddedToken": object, "PreTrainedTokenizer": object},
    }
    for name, members in found.items():
        sys.modules.setdefault(name.partition(".")[0], types.ModuleType(name.partition(".")[0]))
        sys.modules[name] = types.ModuleType(name)
        for member, value in members.items():
            setattr(sys.modules[name], member, value)


def main() -> None:
    """Write the folder: random weights, and the outputs of the published code with its tied head."""
    checkout, out = map(Path, sys.argv[1:])
    sys.path.insert(0, str(checkout))
    stand_in()
    from standalone_hyenadna import HyenaDNAModel

    torch.manual_seed(0)
    model = HyenaDNAModel(**json.loads(json.dumps(CONFIG))).eval()
    with torch.no_grad():  # away from the initial values, which hide a wrong order
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    streams: list[Tensor] = []
    for layer in model.backbone.layers:
        layer.register_forward_hook(lambda _, given, made: streams.append(made[0] + made[1]))
    tokens = torch.cat([torch.randint(7, 12, (2, 29)), torch.randint(0, 12, (1, 29))])
    hidden = model(tokens)
    logits = hidden @ model.backbone.embeddings.word_embeddings.weight.T
    weight = torch.randn_like(logits)
    (logits * weight).sum().backward()
    whole = torch.randint(7, 11, (1, LONGEST))
    kept = {"tokens": tokens, "weight": weight, "logits": logits, "hidden": hidden}
    kept |= {f"after_{i}": stream for i, stream in enumerate(streams[:2], start=1)}
    kept |= {"whole": whole, "whole_hidden": model(whole)}
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            kept[f"gradient.{name}"] = parameter.grad
    out.mkdir(parents=True, exist_ok=True)
    save_file(
        {name: value.detach().clone().contiguous() for name, value in kept.items()}, out / "kept.safetensors"
    )
    state = {f"model.{name}": value for name, value in model.state_dict().items()}
    state["model.lm_head.weight"] = state["model.backbone.embeddings.word_embeddings.weight"]
    state["train_torchmetrics.num_tokens.count"] = torch.tensor(123)
    torch.save({"state_dict": state, "epoch": 3, "global_step": 7}, out / "weights.ckpt")
    (out / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")


if __name__ == "__main__":
    main()
