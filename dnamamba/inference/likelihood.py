"""How likely a model finds bases: per base of a sequence, and per allele between two flanks.

One class for each way in which a family can tell; `likelihood` chooses it by what the backbone can do.
"""

import math
from collections.abc import Iterator, Sequence
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dnamamba.data.alphabet import Ids
from dnamamba.errors import missing
from dnamamba.inference.device import need_language_model
from dnamamba.inference.streaming import Reader, fetched
from dnamamba.kernels.exact import exact, exact_zeros
from dnamamba.kernels.precision import without_autocast
from dnamamba.models import State
from dnamamba.models.base import Backbone, need
from dnamamba.models.pooling import UNKNOWN, base_table, part

Floats = NDArray[np.float32]
SHORTEST_PIECE = 256  # bases of a row read at once, when rows are many or long; others are multiples of it
ALIGNED = 64  # long rows are padded to a multiple of it: kernels are compiled anew for other lengths


class View(NamedTuple):
    """Alleles between two flanks, in the direction of reading."""

    before: Ids
    alleles: tuple[Ids, ...]
    after: Ids


class Likelihood:
    """What one kind of model says about bases.

    Args:
        reader: a language model.

    Attributes:
        needs: the capabilities of a backbone that has this kind of likelihood.
    """

    needs: ClassVar[tuple[str, ...]]

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self._bases = base_table(reader.alphabet.name).to(reader.device)

    def bases(self, ids: Ids, *, reverse: bool = False) -> Iterator[tuple[int, int, Floats]]:
        """Yield start, end and values, float32 [2, n] in bits, of intervals of ids [L], in reading order.

        The values are the log2 probability of the base that is there and the entropy of the prediction,
        within an interval in forward order; NaN where the base is unknown or nothing was read.

        Args:
            ids: of the forward strand.
            reverse: read the reverse complement.
        """
        raise missing(self, "bases")

    def alleles(self, views: Sequence[View]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return log-likelihoods in nats [rows] and mean embeddings [rows, D] of alleles and their flanks.

        Args:
            views: with first flanks of one length; a row is an allele, the first view's first.
        """
        raise missing(self, "alleles")


class CausalLikelihood(Likelihood):
    """Every base is predicted from what lies before it; the first of a sequence is not."""

    needs = ("causal",)

    def bases(self, ids: Ids, *, reverse: bool = False) -> Iterator[tuple[int, int, Floats]]:
        """See `Likelihood.bases`."""

        def computed() -> Iterator[tuple[tuple[int, int], tuple[Tensor]]]:
            before: Tensor | None = None
            for start, end, tokens, logits in self.reader.stream(ids, reverse=reverse, logits=True):
                yield (start, end), (self._bits(logits[0], before, tokens[0].int()),)
                before = logits[0, -1:]

        for (start, end), (values,) in fetched(computed()):
            yield start, end, values[:, ::-1] if reverse else values

    @torch.no_grad()
    def _bits(self, logits: Tensor, before: Tensor | None, tokens: Tensor) -> Tensor:
        """Score tokens [n] as [2, n]: `logits` [n, V] come after each, `before` [1, V] ahead of the first."""
        first = torch.full_like(logits[:1], math.nan) if before is None else before
        predicted = torch.cat([first, logits[:-1]]).float().log_softmax(-1)
        likelihood = predicted.gather(1, tokens.long()[:, None])[:, 0]
        entropy = -(predicted.exp() * predicted).sum(1)
        unknown = self._bases[tokens] == UNKNOWN
        return torch.stack([likelihood, entropy]).masked_fill(unknown, math.nan) / math.log(2)

    def alleles(self, views: Sequence[View]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """See `Likelihood.alleles`."""
        likelihood, embedding = self.allele_tensors(views)
        return likelihood.cpu().numpy(), embedding.cpu().numpy()

    @torch.no_grad()
    def allele_tensors(self, views: Sequence[View]) -> tuple[Tensor, Tensor]:
        """Return what `alleles` does, float64 on the device, for which the host has not waited.

        A recurrent model reads the first flank once for all alleles.
        """
        if not self.reader.model.backbone.recurrent:
            views = [
                View(flank[:0], tuple(np.concatenate([flank, allele]) for allele in alleles), after)
                for flank, alleles, after in views
            ]
        seen = self._flank(np.stack([view.before for view in views]))
        tails = [np.concatenate([allele, view.after]) for view in views for allele in view.alleles]
        width = max(map(len, tails))
        if self.reader.longest is None and width >= 16 * ALIGNED:
            width = -(-width // ALIGNED) * ALIGNED
        tokens = np.full((len(tails), width), self.reader.alphabet.pad_id, dtype=np.uint8)
        for line, tail in zip(tokens, tails, strict=True):
            line[: len(tail)] = tail
        owners = [i for i, view in enumerate(views) for _ in view.alleles]
        rows = self.reader.to_device(np.array(owners))
        return self._tails(tokens, seen.of(rows, self.reader.model.backbone))

    def _flank(self, tokens: Ids) -> "_Seen":
        """Read the flank before the alleles, and return what they need of it."""
        seen = _Seen.nothing(len(tokens), self.reader.model.backbone)
        for piece, hidden, state in self.reader.read(self._pieces(tokens)):
            log_p = self._log_p(hidden[:, -1])
            seen = self._and(seen, piece, hidden)._replace(log_p=log_p, state=state)
        return seen

    def _tails(self, tokens: Ids, seen: "_Seen") -> tuple[Tensor, Tensor]:
        likelihood = exact_zeros(len(tokens), device=self.reader.device)
        for piece, hidden, _ in self.reader.read(self._pieces(tokens), seen.state):
            log_p = self._log_p(hidden)
            before = torch.cat([seen.log_p[:, None], log_p[:, :-1]], dim=1)
            each = before.gather(-1, piece.long()[..., None]).squeeze(-1)
            unknown = self._bases[piece.int()] == UNKNOWN
            likelihood += exact(each.masked_fill(unknown, 0)).sum(1)
            seen = self._and(seen, piece, hidden)._replace(log_p=log_p[:, -1])
        return likelihood, exact(seen.hidden) / exact(seen.known).clamp(min=1)[:, None]

    def _pieces(self, tokens: Ids) -> Iterator[Tensor]:
        """Yield tokens [rows, l] along the length, as many at once as memory holds."""
        width = max(tokens.shape[1], 1)
        if self.reader.longest is None:
            pieces = self.reader.piece // len(tokens) // SHORTEST_PIECE
            width = max(pieces, 1) * SHORTEST_PIECE
        for start in range(0, tokens.shape[1], width):
            yield self.reader.to_device(tokens[:, start : start + width])

    def _log_p(self, hidden: Tensor) -> Tensor:
        """Return log-probabilities [.., V] of the next base, in the parameters' dtype under any autocast."""
        with without_autocast(self.reader.device):
            return self.reader.unembed(hidden).log_softmax(-1)

    def _and(self, seen: "_Seen", piece: Tensor, hidden: Tensor) -> "_Seen":
        """Add the hidden states at known bases."""
        total, count = part("mean", hidden, self._bases[piece.int()])
        return seen._replace(known=seen.known + count, hidden=seen.hidden + total)


class _Seen(NamedTuple):
    """What was read so far of some sequences.

    Attributes:
        log_p: [rows, V] of the next base; 0 where nothing was read, so that the first base counts nothing.
        state: the recurrent state.
        known: [rows], number of known bases.
        hidden: [rows, D], sum of the final hidden states at these.
    """

    log_p: Tensor
    state: State | None
    known: Tensor
    hidden: Tensor

    @classmethod
    def nothing(cls, rows: int, backbone: Backbone) -> "_Seen":
        """Return the state before the first base."""
        like = torch.zeros(rows, dtype=backbone.dtype, device=backbone.device)
        vocabulary, width = backbone.config.padded_vocab_size, backbone.config.width
        return cls(like.new_zeros(rows, vocabulary), None, like, like.new_zeros(rows, width))

    def of(self, rows: Tensor, backbone: Backbone) -> "_Seen":
        """Return these rows of the state, each as often as it is named."""
        state = None if self.state is None else backbone.take(self.state, rows)
        return _Seen(self.log_p[rows], state, self.known[rows], self.hidden[rows])


def likelihood(reader: Reader, who: str) -> Likelihood:
    """Return the likelihood that a model has.

    Args:
        reader: the model.
        who: asks, such as `tracks`.

    Raises:
        UserError: a fine-tuned model, or a family that is neither causal nor masked.
    """
    from dnamamba.inference.masked_likelihood import MaskedLikelihood  # which needs this file

    backbone = need_language_model(reader.model).backbone
    kind = MaskedLikelihood if backbone.masked else CausalLikelihood
    need(backbone, kind.needs, who)
    return kind(reader)
