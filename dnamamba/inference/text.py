"""Text of a model that reads a tokenizer's tokens, such as the Mamba models of state-spaces."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dnamamba.checkpoint import located
from dnamamba.data.alphabet import TEXT
from dnamamba.errors import UserError
from dnamamba.escaping import printable
from dnamamba.inference.device import need_language_model
from dnamamba.inference.generation import generate_blocks
from dnamamba.inference.sampling import Sampling
from dnamamba.models import LanguageModel
from dnamamba.optional import need

FILE = "tokenizer.json"


class TextTokenizer:
    """The tokens of a text model, as the package `tokenizers` reads them from tokenizer.json.

    Args:
        path: the file.

    Attributes:
        size: number of ids, special ones included.
        ends: ids of special tokens, such as the end of a text.

    Raises:
        UserError: `tokenizers` is not installed, or the file is missing or damaged.
    """

    def __init__(self, path: str | Path) -> None:
        need("tokenizers", "text", "a text model")
        from tokenizers import Tokenizer

        if not Path(path).is_file():
            raise UserError(
                f"{path} is missing: a text model needs its tokenizer (that of state-spaces' models is "
                "EleutherAI/gpt-neox-20b's); put it there, or give tokenizer=FILE"
            )
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises Exception itself
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"{path} is damaged or not a tokenizer ({reason}); download it again") from error
        self.path = Path(path)
        self.size = self._tokenizer.get_vocab_size(with_added_tokens=True)
        added = self._tokenizer.get_added_tokens_decoder()
        self.ends = np.array([i for i, token in added.items() if token.special], dtype=np.int32)

    def encode(self, text: str) -> NDArray[np.int32]:
        """Return the ids of a text, int32 [length].

        Raises:
            UserError: it has none, or is not text.
        """
        try:
            ids = np.array(self._tokenizer.encode(text).ids, dtype=np.int32)
        except (TypeError, UnicodeError) as error:  # halves of characters, from bytes that are not UTF-8
            raise UserError(f"prompt: expected text in UTF-8 (got {printable(text[:80])})") from error
        if not len(ids):
            raise UserError("the prompt is empty: a model continues at least one token")
        return ids

    def continuation(self, prompt: NDArray[Any], new: NDArray[Any]) -> str:
        """Return the text of new ids after those of a prompt, up to the first special one."""
        ends = np.flatnonzero(np.isin(new, self.ends))
        new = new[: ends[0]] if len(ends) else new
        # Some tokenizers write the first word of a text in another way than one within it.
        whole = self._tokenizer.decode([*prompt.tolist(), *new.tolist()])
        return str(whole.removeprefix(self._tokenizer.decode(prompt.tolist())))


def is_text(model: LanguageModel) -> bool:
    """Return whether a model reads a text tokenizer's tokens."""
    return bool(model.config.alphabet == TEXT)


def tokenizer_of(path: str | Path) -> TextTokenizer:
    """Return the tokenizer in a model's folder, or in its repository of the Hugging Face Hub.

    Raises:
        UserError: it is missing or damaged.
    """
    return TextTokenizer(located(path) / FILE)


def generate_text(
    model: LanguageModel,
    tokenizer: TextTokenizer,
    prompt: str | Sequence[str],
    length: int,
    *,
    sampling: Sampling | None = None,
    seed: int = 0,
    batch: int = 1,
) -> list[str]:
    """Continue a text by at most `length` tokens; it ends before the first special one.

    Ids above the tokenizer's, by which the vocabulary was padded, are never drawn.

    Args:
        model: a text model, where its parameters lie.
        tokenizer: of the same model.
        prompt: to continue, or several such.
        length: most tokens to make.
        sampling: how a token is drawn; None: by its probability.
        seed: the same seed and prompt give the same text on the same machine.
        batch: texts made from each prompt.

    Returns:
        The new texts, without the prompt: the first prompt's `batch` ones, then the next's.

    Raises:
        UserError: a prompt is empty, a number is out of range, the tokenizer has other ids than the model, or
            the model reads bases.
    """
    if not is_text(need_language_model(model)):
        raise UserError(f"the model reads {model.config.alphabet}, not a text tokenizer's tokens")
    most = model.config.padded_vocab_size
    if tokenizer.size > most:
        raise UserError(
            f"{tokenizer.path}: expected at most {most:,} tokens, the model's vocabulary (got "
            f"{tokenizer.size:,}); give the tokenizer of this model"
        )
    prompts = [tokenizer.encode(text) for text in ([prompt] if isinstance(prompt, str) else prompt)]
    allowed = np.arange(tokenizer.size, dtype=np.int32)
    blocks, ended = [], np.zeros(len(prompts) * batch, dtype=bool)
    for block in generate_blocks(model, prompts, length, sampling or Sampling(), seed, batch, allowed):
        blocks.append(block)
        ended |= np.isin(block, tokenizer.ends).any(axis=1)
        if ended.all():
            break
    made = np.concatenate(blocks, axis=1)
    return [tokenizer.continuation(prompts[i // batch], row) for i, row in enumerate(made)]
