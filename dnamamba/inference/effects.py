"""Effects of variants: how much less likely a model finds the sequence with the alternative allele.

A variant's window is the reference around it: `window` bases, the first base of REF in the middle, and as
many more as REF is longer than one base; it ends where the record does. Every allele stands between the same
two flanks, so that an alternative window is longer or shorter than the reference window by what the allele
is. For each strand, read in its own direction, with ll the sum of log p(base | all bases of the window before
it) over the window's bases A, C, G and T but the very first:

    LLR = ll(alternative window) - ll(reference window)    nats; below 0: the alternative is less likely
    distance = |e(alternative window) - e(reference window)|    Euclidean; e is the mean of the final
               hidden states at the window's bases A, C, G and T

Both are averaged over strands and over shifts of the window. The flank before the variant is read once for
all alleles of a site; only the allele and the flank after it are read for each.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dnamamba.data.alphabet import Alphabet, Ids
from dnamamba.data.fasta import Genome
from dnamamba.errors import UserError
from dnamamba.inference.pooling import known_bases, pool
from dnamamba.kernels.precision import without_autocast
from dnamamba.models import LanguageModel, MixerState, State

STRANDS = {"both": (False, True), "forward": (False,), "reverse": (True,)}  # reverse or not
SITES = 1024  # sorted into batches together
SHORTEST_PIECE = 256  # bases of a row read at once, when rows are many or long


class Site(NamedTuple):
    """Alleles at one place.

    Attributes:
        name: of the record.
        start: of the reference allele, 0-based.
        alleles: ids; the first is the reference's.
    """

    name: str
    start: int
    alleles: tuple[Ids, ...]


class Effects(NamedTuple):
    """Scores of variants, an element each.

    Attributes:
        llr: log-likelihood ratio of the alternative to the reference window in nats, float64.
        distance: between the mean embeddings of the two windows, float64.
    """

    llr: NDArray[np.float64]
    distance: NDArray[np.float64]


class View(NamedTuple):
    """Alleles between two flanks, in the direction of reading."""

    before: Ids
    alleles: tuple[Ids, ...]
    after: Ids


@dataclass(frozen=True)
class Windows:
    """How a variant is looked at.

    Args:
        window: bases of the window of a single-base variant.
        shifts: by how many bases later in its window the variant lies than in the middle; averaged.
        strand: `both` (averaged), `forward` or `reverse`.

    Raises:
        UserError: a number or word is out of range; the message names it.
    """

    window: int = 8192
    shifts: Sequence[int] = (0,)
    strand: str = "both"

    def __post_init__(self) -> None:
        if self.window < 2:
            raise UserError(f"window must be at least 2 bases, not {self.window}")
        if not self.shifts:
            raise UserError("shifts must have at least one number; [0] leaves the variant in the middle")
        for shift in self.shifts:
            if not 0 <= self.window // 2 + shift < self.window:
                raise UserError(f"shifts: {shift} moves a variant out of its window of {self.window:,} bases")
        if self.strand not in STRANDS:
            raise UserError(f"strand must be {', '.join(STRANDS)}, not {self.strand!r}")

    def views(self, site: Site, genome: Genome) -> Iterator[View]:
        """The site as each strand of each of its windows reads it."""
        flip = genome.alphabet.reverse_complement
        end = site.start + len(site.alleles[0])
        for shift in self.shifts:
            before = self.window // 2 + shift
            after = self.window - 1 - before
            left = genome.fetch(site.name, max(0, site.start - before), site.start)
            right = genome.fetch(site.name, end, min(genome.lengths[site.name], end + after))
            for reverse in STRANDS[self.strand]:
                if reverse:
                    yield View(flip(right), tuple(flip(allele) for allele in site.alleles), flip(left))
                else:
                    yield View(left, site.alleles, right)


@torch.no_grad()
def score_sites(
    model: LanguageModel,
    genome: Genome,
    sites: Iterable[Site],
    windows: Windows,
    bases_per_batch: int | None = None,
) -> Iterator[Effects]:
    """The effects of each site's alternative alleles, in order, a few sites at a time.

    Args:
        model: it runs where its parameters lie, under the caller's autocast.
        genome: the reference, in the model's alphabet.
        sites: reference alleles must be the genome's.
        windows: how to look at them.
        bases_per_batch: bases read at once; None is 2^20 on a GPU and 2^14 elsewhere.
    """
    weight = model.backbone.embedding.weight
    if bases_per_batch is None:
        bases_per_batch = 1 << 20 if weight.device.type == "cuda" else 1 << 14
    reader = _Reader(model, genome.alphabet, bases_per_batch)
    rest = iter(sites)
    while some := list(islice(rest, SITES)):
        views = [view for site in some for view in windows.views(site, genome)]
        scores: list[Effects] = [Effects(np.empty(0), np.empty(0))] * len(views)
        for batch in _batches(views, bases_per_batch):
            for i, effects in zip(batch, reader.read([views[i] for i in batch]), strict=True):
                scores[i] = effects
        each = len(views) // len(some)
        for i in range(0, len(views), each):
            llr, distance = np.mean(scores[i : i + each], axis=0)
            yield Effects(llr, distance)


def _batches(views: Sequence[View], budget: int) -> Iterator[list[int]]:
    """Which views to read together: of one length of first flank, and alike in what follows it."""
    batch: list[int] = []
    rows = 0
    for i in sorted(range(len(views)), key=lambda i: (len(views[i].before), _longest(views[i]))):
        before, count = len(views[i].before), len(views[i].alleles)
        bases = max((len(batch) + 1) * before, (rows + count) * _longest(views[i]))
        if batch and (bases > budget or before != len(views[batch[0]].before)):
            yield batch
            batch, rows = [], 0
        batch.append(i)
        rows += count
    yield batch


def _longest(view: View) -> int:
    return max(map(len, view.alleles)) + len(view.after)


class _Reader:
    """Reads views of one length of first flank in one go, that flank once for all alleles."""

    def __init__(self, model: LanguageModel, alphabet: Alphabet, bases_per_batch: int) -> None:
        self._model = model
        self._budget = bases_per_batch
        self._pad_id = alphabet.pad_id
        self._device = model.backbone.embedding.weight.device
        self._known = known_bases(alphabet).to(self._device)

    def read(self, views: Sequence[View]) -> list[Effects]:
        """The effects of the views, averaged over nothing."""
        before = self._flank(np.stack([view.before for view in views]))
        tails = [np.concatenate([allele, view.after]) for view in views for allele in view.alleles]
        tokens = np.full((len(tails), max(map(len, tails))), self._pad_id, dtype=np.uint8)
        for line, tail in zip(tokens, tails, strict=True):
            line[: len(tail)] = tail
        owners = torch.tensor([i for i, view in enumerate(views) for _ in view.alleles], device=self._device)
        likelihood, embedding = self._tails(tokens, before.of(owners))
        effects, row = [], 0
        for view in views:
            alts = slice(row + 1, row + len(view.alleles))
            distance = np.linalg.norm(embedding[alts] - embedding[row], axis=-1)
            effects.append(Effects(likelihood[alts] - likelihood[row], distance))
            row = alts.stop
        return effects

    def _flank(self, tokens: Ids) -> "_Read":
        """What the alleles need of the flank before them."""
        read = _Read.nothing(len(tokens), self._model)
        for piece, hidden, state in self._pieces(tokens, None):
            log_p = self._log_p(hidden[:, -1])
            read = self._and(read, piece, hidden)._replace(log_p=log_p, state=state)
        return read

    def _tails(self, tokens: Ids, read: "_Read") -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Log-likelihoods [rows] of the tails and mean embeddings [rows, D] of all that was read."""
        likelihood = torch.zeros(len(tokens), dtype=torch.float64, device=self._device)
        for piece, hidden, _ in self._pieces(tokens, read.state):
            log_p = self._log_p(hidden)
            before = torch.cat([read.log_p[:, None], log_p[:, :-1]], dim=1)
            each = before.gather(-1, piece.long()[..., None]).squeeze(-1)
            likelihood += each.masked_fill(~self._known[piece.long()], 0).sum(1, dtype=torch.float64)
            read = self._and(read, piece, hidden)._replace(log_p=log_p[:, -1])
        embedding = read.hidden.double() / read.known.double().clamp(min=1)[:, None]
        return likelihood.cpu().numpy(), embedding.cpu().numpy()

    def _pieces(self, tokens: Ids, state: State | None) -> Iterator[tuple[Tensor, Tensor, State]]:
        """Tokens, final hidden states and recurrent state, in pieces along the length that memory holds."""
        width = max(self._budget // len(tokens), SHORTEST_PIECE)
        for start in range(0, tokens.shape[1], width):
            piece = torch.from_numpy(np.ascontiguousarray(tokens[:, start : start + width])).to(self._device)
            hidden, state = self._model.backbone(piece, state)
            yield piece, hidden, state

    def _log_p(self, hidden: Tensor) -> Tensor:
        """Log-probabilities [.., V] of the next base, in the parameters' dtype whatever autocast says."""
        with without_autocast(self._device):
            return self._model.head(hidden.to(self._model.backbone.embedding.weight.dtype)).log_softmax(-1)

    def _and(self, read: "_Read", piece: Tensor, hidden: Tensor) -> "_Read":
        """Add the hidden states at known bases."""
        with without_autocast(self._device):
            total, count = pool(hidden, self._known[piece.long()], "mean")
        return read._replace(known=read.known + count, hidden=read.hidden + total)


class _Read(NamedTuple):
    """What was read so far of some sequences.

    Attributes:
        log_p: [rows, V] of the next base; 0 where nothing was read, so that the first base counts nothing.
        state: the recurrent state.
        known: [rows], number of bases A, C, G and T.
        hidden: [rows, D], sum of the final hidden states at these.
    """

    log_p: Tensor
    state: State | None
    known: Tensor
    hidden: Tensor

    @classmethod
    def nothing(cls, rows: int, model: LanguageModel) -> "_Read":
        """Before the first base."""
        vocabulary, width = model.backbone.embedding.weight.shape
        new = model.backbone.embedding.weight.new_zeros
        return cls(new(rows, vocabulary), None, new(rows), new(rows, width))

    def of(self, rows: Tensor) -> "_Read":
        """These rows of it, each as often as it is named."""
        state = self.state
        if state is not None:
            state = tuple(MixerState(layer.conv[rows], layer.ssm[rows]) for layer in state)
        return _Read(self.log_p[rows], state, self.known[rows], self.hidden[rows])
