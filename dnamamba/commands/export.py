"""What `python -m dnamamba.export` does: a pretrained model as another package's folder, with a card."""

import html
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from dnamamba import __version__
from dnamamba.checkpoint import load, model_hash
from dnamamba.documents import read_yaml
from dnamamba.errors import UserError
from dnamamba.escaping import bounded, printable
from dnamamba.foreign import write_foreign
from dnamamba.hub import need_push, pushed
from dnamamba.inference.device import need_language_model
from dnamamba.inference.output import output_folder
from dnamamba.models import LanguageModel
from dnamamba.plugins import load_plugins
from dnamamba.seals import SEAL, read_results
from dnamamba.terminal import Console

_ADVICE = "mend it, or export the folder `model` in the run's"


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
    out = output_folder(config.out)
    load_plugins(config.plugins or [])
    model = need_language_model(load(config.model), config.model)
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
    # A text of JSON is one of YAML; it stays bare where YAML reads the same either way.
    given = licence if licence and re.fullmatch(r"[a-zA-Z][\w.-]*", licence) else json.dumps(licence)
    head = ["---", f"license: {given}", "tags: [DNA, genomics]", "---"] if licence else []
    lines = (f"- {_plain(key)}: {_plain(value)}" for key, value in facts.items())
    return "\n".join([*head, f"# {_plain(source.name)}", "", *lines, ""])


def _plain(text: str) -> str:
    """Return a text for a line of Markdown, which may hold HTML: nothing that a page would obey."""
    return html.escape(bounded(printable(text)), quote=False)


def _run_facts(source: Path) -> dict[str, str]:
    """Read data, context and held-out results of a pretraining from its folder."""
    facts: dict[str, str] = {}
    settings, results = source / "config.yaml", source / "results.json"
    try:
        if settings.is_file():
            data = read_yaml(settings, _ADVICE).get("data") or {}
            facts["Data"] = str(data.get("fasta") or "the yeast genome S288C of dnamamba")
            if data.get("max_length") is not None:
                facts["Context"] = f"{data['max_length']} bases"
        if results.is_file():
            settings = results
            for name, values in read_results(results, _ADVICE, ("config.yaml",)).items():
                if name == "versions":
                    facts["Trained with"] = ", ".join(
                        f"{package} {number}" for package, number in values.items()
                    )
                elif name not in ("markov_bits_per_base", SEAL) and isinstance(values, dict):
                    shown = ", ".join(f"{split} {value:.4f}" for split, value in values.items())
                    facts[name.replace("_", " ").capitalize()] = shown
    except (AttributeError, TypeError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{settings}: not as dnamamba writes it ({error}); {_ADVICE}") from None
    return facts
