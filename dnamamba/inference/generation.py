"""New sequence from a model, a base at a time, in memory that does not grow with what was read or made."""

import hashlib
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dnamamba.data.alphabet import Alphabet, Ids, get_alphabet, need_bases
from dnamamba.data.fasta import NUCLEOTIDE
from dnamamba.errors import UserError, whole_number
from dnamamba.inference.device import need_finite, need_language_model
from dnamamba.inference.inputs import alphabet_letters
from dnamamba.inference.sampling import Sampling, gumbel
from dnamamba.models import LanguageModel, State
from dnamamba.models.base import need
from dnamamba.models.reading import read_pieces

BLOCK = 64  # bases between two visits to the host
MOST_SEQUENCES = 1 << 18  # of a run: each has a generator of noise, a state and a row of logits
MOST_LETTERS = 1 << 32  # of all sequences together, which are kept until they are written
PROMPT_PIECE = 1 << 16  # bases of a prompt read at once


def generate(
    model: LanguageModel,
    prompt: str | Sequence[str],
    length: int,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int = 0,
    batch: int = 1,
) -> list[str]:
    """Continue a prompt by `length` bases.

    The prompt is read in parallel, in pieces with the state carried; then every base costs the same time and
    memory, however long the prompt. On a GPU a step is one CUDA graph. Only letters of bases are drawn, never
    N or an id that stands for none; what is left out takes no part in the probabilities. Under autocast
    the matrix products have its dtype, else that of the parameters.

    >>> from dnamamba import generate, load
    >>> from dnamamba.data.embedded import YEAST_MODEL
    >>> (new,) = generate(load(YEAST_MODEL), "ATGGCC", 20, seed=1)
    >>> len(new), set(new) <= set("ACGT")
    (20, True)

    Args:
        model: it runs where its parameters lie.
        prompt: letters to continue, or several such; at least one base each, N allowed.
        length: bases to make.
        temperature: logits are divided by it; 0 takes the likeliest base.
        top_k: only this many of the likeliest bases may be drawn.
        top_p: only the likeliest bases that together have this probability, the last included, may be drawn.
        seed: the same seed and prompt give the same bases on the same machine, and a shorter `length` or a
            smaller `batch` their beginning; another prompt has other noise. The noise is the same on every
            device; logits differ there by rounding.
        batch: sequences made from each prompt.

    Returns:
        The new bases as letters, without the prompt: the first prompt's `batch` sequences, then the next's.
        Of a model of text, its characters, read as UTF-8.

    Raises:
        UserError: a prompt is empty or no DNA, a number is out of range, the model is a fine-tuned one, its
            family is not causal and recurrent, or what it computes is not finite.
    """
    alphabet = get_alphabet(need_language_model(model).config.alphabet)
    texts = list(prompt) if isinstance(prompt, Iterable) and not isinstance(prompt, str) else [prompt]
    for text in texts:
        if not isinstance(text, str):
            shown = " ".join(repr(text).split())[:60]
            raise UserError(f"prompt: must be letters, or a list of such (got {shown})")
    prompts = [encode_prompt(text, alphabet) for text in texts]
    sampling = Sampling(temperature, top_k, top_p)
    rows = np.concatenate(list(generate_blocks(model, prompts, length, sampling, seed, batch)), axis=1)
    if alphabet.name == "octets":
        return [row.tobytes().decode("utf-8", "replace") for row in rows]
    return [alphabet.decode(row) for row in rows]


def generate_blocks(
    model: LanguageModel,
    prompts: Sequence[NDArray[Any]],
    length: int,
    sampling: Sampling,
    seed: int,
    batch: int,
    allowed: NDArray[Any] | None = None,
) -> Iterator[NDArray[Any]]:
    """Yield what `generate` makes, as ids, `BLOCK` of all sequences at a time: [sequences, <= BLOCK].

    The ids are uint8 of a model with at most 256 of them, else int32.

    Args:
        model: causal and recurrent.
        prompts: ids, whole numbers [length] each.
        length: bases, or tokens of a text model, of each new sequence.
        sampling: temperature, top_k and top_p.
        seed: of the noise.
        batch: sequences of each prompt.
        allowed: ids that may be drawn; None: those of the alphabet's known bases.
    """
    need(need_language_model(model).backbone, ("causal", "recurrent"), "generate")
    for name, number in (("length", length), ("batch", batch), ("prompts", len(prompts))):
        if whole_number(name, number) < 1:
            raise UserError(f"{name}: must be at least 1 (got {number})")
    rows = len(prompts) * batch
    if rows > MOST_SEQUENCES:
        raise UserError(
            f"batch: at most {MOST_SEQUENCES:,} sequences in a run (got {rows:,}, of {len(prompts):,} "
            "prompt(s)); make them in several, each with its own seed"
        )
    if rows * length > MOST_LETTERS:
        raise UserError(
            f"length: at most {MOST_LETTERS:,} letters in a run, all sequences together "
            f"(got {rows * length:,}); make fewer or shorter ones"
        )
    loop = SamplingLoop(model, rows, sampling, row_seeds(seed, prompts, batch), allowed)
    loop.start([read_prompt(model, prompt) for prompt in prompts], batch)
    for done in range(0, length, BLOCK):
        yield loop.block()[:, : length - done]


def row_seeds(seed: int, prompts: Sequence[NDArray[Any]], batch: int) -> list[int]:
    """Derive each sequence's seed of the noise, from the seed, its prompt and the number of its copy.

    Sequences of different prompts, in one run or in two, then share no noise; what else a run makes changes
    nothing.

    Args:
        seed: of the run.
        prompts: ids, whole numbers [length] each.
        batch: sequences of each prompt.

    Raises:
        UserError: the seed is not a whole number in range.
    """
    number = whole_number("seed", seed)
    if not 0 <= number < 2**63:
        raise UserError(f"seed: must lie between 0 and 2^63 - 1 (got {number})")
    copies: Counter[bytes] = Counter()
    seeds = []
    for prompt in prompts:
        letters = prompt.tobytes()
        for _ in range(batch):
            mixed = hashlib.sha256(f"{number} {copies[letters]} ".encode() + letters).digest()
            seeds.append(int.from_bytes(mixed[:8], "little") >> 1)
            copies[letters] += 1
    return seeds


def encode_prompt(text: str, alphabet: Alphabet) -> Ids:
    """Return the ids of a prompt's letters.

    Raises:
        UserError: there are none, or one is not a nucleotide code.
    """
    if not text:
        raise UserError("the prompt is empty: a model continues at least one base")
    if alphabet.name == "octets":
        return np.frombuffer(text.encode("utf-8", "surrogateescape"), dtype=np.uint8)
    need_bases(alphabet)
    foreign = np.flatnonzero(~NUCLEOTIDE[alphabet_letters(text)])
    if foreign.size and alphabet.name != "bytes":
        raise UserError(
            f"prompt: {text[foreign[0]]!r} at position {foreign[0] + 1:,} is not a nucleotide code"
        )
    return alphabet.encode(text)


def drawable(alphabet: Alphabet) -> Ids:
    """Return the ids that may be drawn: those of known bases, so that a FASTA file can hold them.

    Of text and sound, all but padding.
    """
    if alphabet.unit != "base":
        return np.flatnonzero(alphabet.scored[: alphabet.size]).astype(np.uint8)
    letters = (chr(alphabet.to_letter[i]) for i in range(alphabet.size))
    known = [letter.isascii() and letter.isalpha() and letter not in "Nn" for letter in letters]
    return np.flatnonzero(np.array(known) & alphabet.scored[: alphabet.size]).astype(np.uint8)


@torch.no_grad()
def read_prompt(model: LanguageModel, prompt: NDArray[Any]) -> tuple[Tensor, State]:
    """Return the final hidden state [1, D] at the last of ids [L], and the recurrent state after it."""
    backbone = model.backbone
    pieces = (
        torch.tensor(prompt[None, start : start + PROMPT_PIECE], device=backbone.device)
        for start in range(0, len(prompt), PROMPT_PIECE)
    )
    last = deque(read_pieces(backbone, pieces), maxlen=1).pop()
    return last.hidden[:, -1], last.state


class SamplingLoop:
    """Draws a base of each sequence, reads it, and so on: fixed memory, one CUDA graph per base on a GPU.

    Args:
        model: the language model.
        rows: sequences.
        sampling: how a base is drawn.
        seed: of the noise, of each sequence or one for all.
        allowed: ids that may be drawn; None: those of the alphabet's known bases.
    """

    def __init__(
        self,
        model: LanguageModel,
        rows: int,
        sampling: Sampling,
        seed: int | Sequence[int],
        allowed: NDArray[Any] | None = None,
    ) -> None:
        if allowed is None:
            allowed = drawable(get_alphabet(model.config.alphabet))
        backbone, device, vocabulary = model.backbone, model.backbone.device, model.config.padded_vocab_size
        cast = torch.is_autocast_enabled(device.type)
        dtype = torch.get_autocast_dtype(device.type) if cast else backbone.dtype
        self._sampling = sampling
        seeds = [seed] if isinstance(seed, int) else seed
        self._generators = [torch.Generator().manual_seed(one) for one in seeds]
        self._recurrence = backbone.recurrence(rows, dtype)
        self._logits = torch.zeros(rows, vocabulary, dtype=backbone.dtype, device=device)
        self._allowed = torch.zeros(vocabulary, dtype=torch.bool, device=device)
        self._allowed[torch.from_numpy(allowed).long()] = True
        self._noise = torch.zeros(BLOCK, rows, vocabulary, device=device)
        ids = torch.uint8 if vocabulary <= 256 else torch.int32
        self._made = torch.zeros(BLOCK, rows, dtype=ids, device=device)
        self._position = torch.zeros(1, dtype=torch.long, device=device)
        self._step = captured(self._eager_step, device) if device.type == "cuda" else self._eager_step

    def start(self, prompts: Sequence[tuple[Tensor, State]], batch: int) -> None:
        """Begin after these prompts, each of which `batch` neighbouring sequences continue."""
        hidden = torch.cat([hidden for hidden, _ in prompts]).repeat_interleave(batch, dim=0)
        self._logits.copy_(self._recurrence.head(hidden))
        for row, (_, state) in enumerate(prompts):
            self._recurrence.load(state, slice(row * batch, (row + 1) * batch))
        self._need_finite()

    @torch.no_grad()
    def block(self) -> NDArray[Any]:
        """Return the next `BLOCK` ids of all sequences, [rows, BLOCK]."""
        each = self._noise.shape[1] // len(self._generators)
        shape = (BLOCK, each, self._noise.shape[2])
        self._noise.copy_(torch.cat([gumbel(shape, generator) for generator in self._generators], 1))
        self._position.zero_()
        for _ in range(BLOCK):
            self._step()
        self._need_finite()
        return self._made.t().cpu().numpy().copy()

    def _need_finite(self) -> None:
        """Refuse logits that are not numbers; once in a state, NaN is in every logit after it."""
        for row, logits in enumerate(self._logits[:, self._allowed].float().cpu().numpy()):
            need_finite(logits, f"generated sequence {row + 1}")

    @torch.no_grad()
    def _eager_step(self) -> None:
        noise = self._noise.index_select(0, self._position)[0]
        drawn = self._sampling.draw(self._logits, self._allowed, noise)
        self._made.index_copy_(0, self._position, drawn[None].to(self._made.dtype))
        self._logits.copy_(self._recurrence.step(drawn))
        self._position.add_(1)


def captured(step: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """Capture one call of `step` as a CUDA graph. It has run by then: what it changed must be set anew."""
    with torch.cuda.device(device):
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            step()
            step()
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
    return graph.replay
