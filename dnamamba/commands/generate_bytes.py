"""Text and sound from models of bytes: what `python -m dnamamba.generate` reads and writes for them."""

from pathlib import Path
from typing import Any

import numpy as np

from dnamamba.data import sound
from dnamamba.data.alphabet import Alphabet, Ids
from dnamamba.data.byte_files import read_text
from dnamamba.errors import UserError
from dnamamba.files import replacing
from dnamamba.inference.generation import encode_prompt
from dnamamba.inference.output import named

SUFFIXES = {"octets": ".txt", "mulaw": ".wav"}
"""Of the file that holds what a model of an alphabet makes."""
# What stands before anything else, where there is no prompt.
_BEGINNINGS = {
    "octets": np.array([ord("\n")], dtype=np.uint8),
    "mulaw": np.full(256, sound.SILENCE, dtype=np.uint8),
}


SAMPLE_RATE = 16_000


def check(config: Any, expected: str) -> None:
    """Refuse settings that do not go with text and sound.

    Args:
        config: the command's, a `GenerateConfig`.
        expected: what the file's name must end in.

    Raises:
        UserError: naming the setting.
    """
    if config.out is None:
        raise UserError("out: must be given")
    named(config.out, (expected,))
    if config.tokenizer is not None:
        raise UserError("tokenizer: the model reads bytes; leave it out")
    for key in ("fasta", "region"):
        if getattr(config, key) is not None:
            raise UserError(f"{key}: the model reads bytes, not bases; give prompt_file")
    if config.batch != 1:
        raise UserError(f"batch: a {expected} file holds one sequence (got {config.batch}); set another seed")
    if rate_of(config) < 1:
        raise UserError(f"sample_rate: must be at least 1 (got {config.sample_rate})")


def rate_of(config: Any) -> int:
    """Return the samples per second of the sound that is read and written."""
    return SAMPLE_RATE if config.sample_rate is None else int(config.sample_rate)


def prompts(config: Any, alphabet: Alphabet) -> dict[str, Ids]:
    """Return the ids of the prompt by a name for it.

    Args:
        config: the command's, a `GenerateConfig`.
        alphabet: `octets` or `mulaw`.

    Raises:
        UserError: there are two, or the file can't be read.
    """
    if config.prompt is not None and config.prompt_file is not None:
        raise UserError("give either prompt or prompt_file")
    if config.prompt is not None:
        if alphabet.name == "mulaw":
            raise UserError("prompt: the model reads sound; give prompt_file=FILE.wav")
        return {"prompt": encode_prompt(config.prompt, alphabet)}
    if config.prompt_file is None:
        return {"beginning": _BEGINNINGS[alphabet.name]}
    path = Path(config.prompt_file).expanduser()
    found = sound.read_sound(path, rate_of(config)) if alphabet.name == "mulaw" else read_text(path)
    if not found.size:
        raise UserError(f"prompt_file: {path} is empty; give another")
    return {path.name: found}


def write(out: Path, row: Ids, alphabet: Alphabet, rate: int) -> None:
    """Write a sequence as text or sound, whole or not at all.

    Args:
        out: the file.
        row: ids [length].
        alphabet: `octets` or `mulaw`.
        rate: samples per second of sound.
    """
    with replacing(out) as beside:
        if alphabet.name == "mulaw":
            sound.write_sound(beside, row, rate)
        else:
            beside.write_bytes(row.tobytes())
