"""What `python -m dnamamba.export` does: a pretrained model as another package's folder, with a card."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dnamamba import __version__
from dnamamba.checkpoint import load, model_hash
from dnamamba.foreign import write_foreign
from dnamamba.hub import need_push, pushed
from dnamamba.inference.device import need_language_model
from dnamamba.models import LanguageModel
from dnamamba.plugins import load_plugins
from dnamamba.terminal import Console


@dataclass(frozen=True)
class ExportConfig:
    """The settings of conf/export.yaml, which explains each."""

    model: str
    format: str
    out: str
    licence: str | None = None
    push: str | None = None
    plugins: list[str] | None = None


def export_to_folder(config: ExportConfig) -> None:
    """Write the folder, whole or not at all, and push it where that is asked for.

    Raises:
        UserError: the model can't be used, its family has no such format, the folder is there, or the Hub
            does not take it.
    """
    if config.push is not None:
        need_push(config.push)
    load_plugins(config.plugins or [])
    model = need_language_model(load(config.model), config.model)
    out = Path(os.path.expanduser(config.out))
    card = model_card(model, Path(os.path.expanduser(config.model)), config.licence)
    write_foreign(model.config, model.state_dict(), out, config.format, card)
    console = Console()
    console.print(f"{config.model} as {config.format}: {out}", soft_wrap=True)
    if config.push is not None:
        console.print(f"pushed: {pushed(out, config.push)}", soft_wrap=True)


def model_card(model: LanguageModel, source: Path, licence: str | None) -> str:
    """Return the text of README.md: what the model is, and what its run's folder says of data and results.

    Args:
        model: to be described.
        source: where it was loaded from; only a run's folder has more to say.
        licence: of the weights.
    """
    config = model.config
    size = sum(parameter.numel() for parameter in model.parameters())
    facts = {
        "Family": config.family,
        "Parameters": f"{size:,}",
        "Alphabet": config.alphabet,
        **_run_facts(source),
        "Licence": licence or "not given",
        "SHA-256 of configuration and weights": model_hash(model),
        "Written by": f"dnamamba {__version__}",
    }
    head = ["---", f"license: {licence}", "tags: [DNA, genomics]", "---"] if licence else []
    return "\n".join(
        [*head, f"# {source.name}", "", *(f"- {key}: {value}" for key, value in facts.items()), ""]
    )


def _run_facts(source: Path) -> dict[str, str]:
    """Read data, context and held-out results of a pretraining from its folder."""
    facts: dict[str, str] = {}
    settings: dict[str, Any] = {}
    if (source / "config.yaml").is_file():
        settings = yaml.safe_load((source / "config.yaml").read_text()) or {}
        data = settings.get("data") or {}
        facts["Data"] = str(data.get("fasta") or "the yeast genome S288C of dnamamba")
        facts["Context"] = f"{data.get('max_length')} bases"
    if (source / "results.json").is_file():
        results = json.loads((source / "results.json").read_text())
        for name, values in results.items():
            if name != "markov_bits_per_base" and isinstance(values, dict):
                shown = ", ".join(f"{split} {value:.4f}" for split, value in values.items())
                facts[name.replace("_", " ").capitalize()] = shown
    return facts
