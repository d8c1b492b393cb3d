"""What `python -m dnamamba.generate` does with a text model: a prompt in, text to the terminal or a file."""

import sys
import time
from typing import TYPE_CHECKING

from dnamamba.errors import UserError
from dnamamba.escaping import printable
from dnamamba.files import replacing
from dnamamba.inference.device import precision_of
from dnamamba.inference.output import output_path
from dnamamba.inference.sampling import Sampling
from dnamamba.inference.text import TextTokenizer, generate_text, tokenizer_of
from dnamamba.models import LanguageModel
from dnamamba.terminal import Console

if TYPE_CHECKING:
    from dnamamba.commands.generate import GenerateConfig


def write_text(model: LanguageModel, config: "GenerateConfig", sampling: Sampling) -> None:
    """Write the prompt and what the model continues it with, once per copy.

    Args:
        model: a text model, on its device.
        config: of the command.
        sampling: how a token is drawn.

    Raises:
        UserError: there is no tokenizer, or a setting is one of models that read bases.
    """
    if config.prompt is None or config.fasta is not None:
        raise UserError("prompt: a text model continues prompt=TEXT (got fasta=FILE); give a text")
    for key in ("region", "prompt_file", "sample_rate"):
        if getattr(config, key) is not None:
            raise UserError(
                f"{key}: a text model continues prompt=TEXT (got {getattr(config, key)}); leave it out"
            )
    out = None if config.out is None else output_path(config.out, (".txt",), config.overwrite)
    assert config.model is not None  # the package's own model reads bases
    tokenizer = TextTokenizer(config.tokenizer) if config.tokenizer else tokenizer_of(config.model)
    began = time.perf_counter()
    with precision_of(model, config.precision):
        made = generate_text(
            model,
            tokenizer,
            config.prompt,
            config.length,
            sampling=sampling,
            seed=config.seed,
            batch=config.batch,
        )
    texts = [config.prompt + text for text in made]
    if out is None:
        # Whole, and nothing that a terminal would obey: a Console shortens and wraps.
        sys.stdout.write("".join("\n".join(map(printable, text.split("\n"))) + "\n" for text in texts))
        return
    with replacing(out) as beside, beside.open("w", encoding="utf-8") as file:
        file.writelines(f"{text}\n" for text in texts)
    seconds = time.perf_counter() - began
    Console().print(f"{len(texts)} text(s) in {seconds:.1f} s: {out}", soft_wrap=True, highlight=False)
