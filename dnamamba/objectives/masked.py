"""Masked language modelling: predict some bases of a window from all the others."""

import math
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnamamba.data.alphabet import get_alphabet
from dnamamba.errors import UserError
from dnamamba.models import LanguageModel, ModelConfig
from dnamamba.objectives.base import Batch, Meter, Objective
from dnamamba.objectives.tally import Tally

IGNORED = -100
MASK, OTHER = 0.8, 0.1  # shares of the chosen bases: masked, replaced by any base; the rest are left


class Masked(NamedTuple):
    """What a model reads, and what it is asked.

    Attributes:
        tokens: uint8 [B, L], with masks and replaced bases.
        targets: int64 [B, L], the base at each chosen position; `IGNORED` elsewhere.
    """

    tokens: Tensor
    targets: Tensor


class MaskedBases(Objective):
    """Cross-entropy of the bases that were chosen, in nats inside and bits per base outside.

    Of the known bases a share `rate` is chosen; of these 80 % are masked, 10 % replaced by any of the four
    bases and 10 % left. What happens to a base is a function of `seed`, the sample's number and the place in
    it alone. A batch has `tokens`, uint8 [B, L + 1]: the last base is the next-base objective's, and is left
    out.

    Args:
        config: the model's; its alphabet says which ids are known bases, and which one is the mask.
        rate: share of the known bases that are chosen.
        seed: of the choice.

    Raises:
        UserError: `rate` or `seed` is out of range.

    Source: Devlin et al., "BERT" (2018), arXiv 1810.04805, section 3.1, with a base for a word.
    """

    scored: Tensor
    bases: Tensor

    def __init__(self, config: ModelConfig, rate: float = 0.15, seed: int = 0) -> None:
        super().__init__()
        if not 0 < rate <= 1:
            raise UserError(
                f"objective.rate: must lie above 0 and up to 1 (got {rate}); give a share such as 0.15"
            )
        if type(seed) is not int or not 0 <= seed < 2**63:
            raise UserError(
                f"objective.seed: must be a whole number from 0 on (got {seed!r}); choose another"
            )
        self.rate, self.seed = rate, seed
        alphabet = get_alphabet(config.alphabet)
        self.mask_id = alphabet.mask_id
        # Of an alphabet of bytes every letter counts elsewhere; here what can be told is a nucleotide.
        known = torch.zeros(256, dtype=torch.bool)
        known[torch.from_numpy(alphabet.encode("ACGTacgt").copy()).long()] = True
        self.register_buffer("scored", known, persistent=False)
        self.register_buffer("bases", torch.from_numpy(alphabet.encode("ACGT").copy()), persistent=False)

    def masked(self, batch: Batch) -> Masked:
        """Return the batch as the model reads it, and its targets."""
        tokens = batch["tokens"][:, :-1]
        draw = uniform(self.seed, batch["index"], tokens.shape[1])
        chosen = (draw(0) < self.rate) & self.scored[tokens.int()]
        fate, other = draw(1), self.bases[(draw(2) * len(self.bases)).long()]
        read = torch.where(chosen & (fate < MASK), self.mask_id, tokens)
        read = torch.where(chosen & (fate >= MASK) & (fate < MASK + OTHER), other, read)
        return Masked(read, tokens.long().masked_fill(~chosen, IGNORED))

    def loss_sum(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return cross-entropy in nats, added up over the chosen bases."""
        tokens, targets = self.masked(batch)
        logits = cast(LanguageModel, model)(tokens).logits
        return F.cross_entropy(
            logits.float().flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum"
        )

    def number_of_targets(self, batch: Batch) -> Tensor:
        """Count the chosen bases."""
        return (self.masked(batch).targets != IGNORED).sum()

    def meter(self) -> "MaskedMeter":
        """Return a meter of perplexity, bits per base and accuracy of the chosen bases."""
        return MaskedMeter(self)

    def logged(self, loss: Tensor, batch: Batch) -> dict[str, Tensor | float]:
        """Return bits per masked base of the scalar `loss`, and the length of the step's windows."""
        return {"bits_per_masked_base": loss / math.log(2), "length": float(batch["tokens"].shape[1] - 1)}

    def unchanged(self) -> dict[str, Any]:
        """Return the share and the seed."""
        return {"rate": self.rate, "seed": self.seed}


class MaskedMeter(Meter):
    """What the chosen bases of held-out windows cost a model; not comparable with next-base numbers.

    Args:
        objective: chooses them.
    """

    headline = "bits_per_masked_base"

    def __init__(self, objective: MaskedBases) -> None:
        super().__init__()
        self._objective = (objective,)  # in a tuple: its buffers are the run's, not the meter's
        self.tally = Tally(IGNORED)

    def update(self, model: nn.Module, batch: Batch) -> None:
        """Count in a batch of windows."""
        tokens, targets = self._objective[0].masked(batch)
        self.tally.update(cast(LanguageModel, model)(tokens).logits, targets)

    def compute(self) -> dict[str, Any]:
        """Return perplexity, bits per base and accuracy of all chosen bases."""
        return self.tally.named(self.headline)

    def reset(self) -> None:
        """Forget all windows."""
        self.tally.reset()


def uniform(seed: int, index: Tensor, length: int) -> Any:
    """Return random numbers of samples, each a function of seed, sample, place and draw alone, on any device.

    SplitMix64 as in `dnamamba.data.stateless`, in the whole numbers of torch, which wrap around.

    Args:
        seed: below 2^63.
        index: int64 [B], the samples' numbers.
        length: places L of each.

    Returns:
        A function of the draw's number: float32 [B, L] in [0, 1).
    """
    place = torch.arange(length, device=index.device)
    sample = _mix(_mix(torch.full_like(index, seed)) + index * _GOLDEN)

    def draw(number: int) -> Tensor:
        bits = _mix(_mix(sample[:, None] ^ number) + place * _GOLDEN)
        return _shifted(bits, 40).float() * 2.0**-24

    return draw


def _signed(bits: int) -> int:
    return bits - 2**64 if bits >= 2**63 else bits


_GOLDEN = _signed(0x9E3779B97F4A7C15)


def _shifted(bits: Tensor, by: int) -> Tensor:
    """Shift int64 right, with zeros from the left."""
    return (bits >> by) & (2 ** (64 - by) - 1)


def _mix(bits: Tensor) -> Tensor:
    bits = bits + _GOLDEN
    bits = (bits ^ _shifted(bits, 30)) * _signed(0xBF58476D1CE4E5B9)
    bits = (bits ^ _shifted(bits, 27)) * _signed(0x94D049BB133111EB)
    return bits ^ _shifted(bits, 31)
