"""Effects of variants: how much less likely a model finds the alternative allele, or what it answers to it.

A variant's window is the reference around it: `window` bases, the first base of REF in the middle, and as
many more as REF is longer than one base; it ends where the record does, unless that is circular. Every
allele stands between the same two flanks, so that an alternative window is longer or shorter than the
reference window by what the allele is. For each strand, read in its own direction, with ll the sum of
log p(base | all bases of the window before it) over the window's bases A, C, G and T but the very first:

    LLR = ll(alternative window) - ll(reference window)    nats; below 0: the alternative is less likely
    distance = |e(alternative window) - e(reference window)|    Euclidean; e is the mean of the final
               hidden states at the window's bases A, C, G and T

A fine-tuned model is asked about the two whole windows instead. Of the label that is asked for, with a the
natural log odds of a class or label or the number of a regression, and l all logits:

    effect = a(alternative window) - a(reference window)
    distance = |l(alternative window) - l(reference window)|

All are averaged over strands and over shifts of the window. A pretrained model reads the flank before the
variant once for all alleles of a site, and only the allele and the flank after it for each. With `share` it
reads that flank once for all variants that lie in one cell of so many bases.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dnamamba.checkpoint import Model
from dnamamba.data.alphabet import Ids
from dnamamba.data.fasta import Genome
from dnamamba.errors import UserError, whole_number
from dnamamba.inference.answers import Answers
from dnamamba.inference.device import need_finite
from dnamamba.inference.likelihood import SHORTEST_PIECE, CausalLikelihood, Likelihood, View, likelihood
from dnamamba.inference.streaming import Reader, fetched
from dnamamba.models import PositionModel, SequenceModel

STRANDS = {"both": (False, True), "forward": (False,), "reverse": (True,)}  # reverse or not
SITES = 1024  # sorted into batches together
# A batch that is read in pieces may have so many rows that pieces become this short, in bases: with many rows
# the GPU's scan need not cut their lengths, which would take a second sweep over them.
PIECE = 1024


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
        llr: log-likelihood ratio of the alternative to the reference window in nats, float64; of a
            fine-tuned model the effect on its answer.
        distance: between the mean embeddings, or the logits, of the two windows, float64.
    """

    llr: NDArray[np.float64]
    distance: NDArray[np.float64]


@dataclass(frozen=True)
class Windows:
    """How a variant is looked at.

    Args:
        window: bases of a single-base variant's window.
        shifts: by how many bases later in its window the variant lies than in the middle; averaged.
        strand: `both` (averaged), `forward` or `reverse`.
        share: bases of a cell, counted from the record's first base; the variants that begin in one have
            their flanks around the whole cell, and so a common beginning of their windows. With 0 every
            variant has flanks of its own.

    Raises:
        UserError: a number or word is out of range; the message names it.
    """

    window: int = 8192
    shifts: Sequence[int] = (0,)
    strand: str = "both"
    share: int = 0

    def __post_init__(self) -> None:
        for name, numbers in (("window", [self.window]), ("shifts", self.shifts), ("share", [self.share])):
            for number in numbers:
                whole_number(name, number)
        if self.window < 2:
            raise UserError(f"window: must be at least 2 bases (got {self.window})")
        if not self.shifts:
            raise UserError(
                "shifts: must have at least one number (got none); [0] leaves the variant in the middle"
            )
        for shift in self.shifts:
            if not 0 <= self.window // 2 + shift < self.window:
                raise UserError(f"shifts: {shift} moves a variant out of its window of {self.window:,} bases")
        if self.strand not in STRANDS:
            raise UserError(f"strand: must be one of {', '.join(STRANDS)} (got {self.strand!r})")
        if self.share < 0:
            raise UserError(f"share: must be at least 0 bases (got {self.share})")

    def cell(self, site: Site, genome: Genome) -> tuple[str, int, int]:
        """Return record, start and end of what the flanks of a site lie around.

        It depends on nothing but the site, so that a score does not either; REF may reach out of its cell.
        """
        end = site.start + len(site.alleles[0])
        if not self.share:
            return site.name, site.start, end
        start = site.start - site.start % self.share
        return site.name, start, max(end, min(start + self.share, genome.lengths[site.name]))

    def flanks(self, site: Site, genome: Genome) -> Iterator[tuple[Ids, Ids]]:
        """Yield what lies before and after the site's alleles, for each shift."""
        end = site.start + len(site.alleles[0])
        for shift in self.shifts:
            before = self.window // 2 + shift
            yield genome.flanks(site.name, site.start, end, before, self.window - 1 - before)

    def views(self, site: Site, genome: Genome) -> Iterator[View]:
        """Yield the site as each strand of its windows reads it."""
        flip = genome.alphabet.reverse_complement
        for left, right in self.flanks(site, genome):
            for reverse in STRANDS[self.strand]:
                if reverse:
                    yield View(flip(right), tuple(flip(allele) for allele in site.alleles), flip(left))
                else:
                    yield View(left, site.alleles, right)


def judge(model: Model, bases_per_batch: int | None = None, label: str | None = None) -> Likelihood | Answers:
    """Return what compares alleles: a pretrained model's likelihood, a fine-tuned one's predictions.

    Args:
        model: it runs where its parameters lie, under the caller's autocast.
        bases_per_batch: see `score_sites`.
        label: of a fine-tuned model, whose answer is compared; None: the only one, or the second of two.

    Raises:
        UserError: a label that the model does not have, or several and none was named; or no bases at once.
    """
    if bases_per_batch is not None and whole_number("bases_per_batch", bases_per_batch) < 1:
        raise UserError(f"bases_per_batch: must be at least 1 (got {bases_per_batch})")
    # In fp32 a reader leaves the caller's autocast as it is.
    if isinstance(model, SequenceModel):
        answers = Answers(model, label=label, precision="fp32", piece=bases_per_batch)
        answers.label_number()
        return answers
    if isinstance(model, PositionModel):
        raise UserError(
            "model: it answers at every base or bin, not once per window; give a model of sequences"
        )
    if label is not None:
        raise UserError(f"label: a pretrained model has none (got {label!r}); give a fine-tuned one")
    return likelihood(Reader(model, precision="fp32", piece=bases_per_batch), "score")


def score_sites(
    model: Model,
    genome: Genome,
    sites: Iterable[Site],
    windows: Windows,
    bases_per_batch: int | None = None,
    label: str | None = None,
    advance: Callable[[int], None] = lambda sites: None,
) -> Iterator[Effects]:
    """Yield the effects of each site's alternative alleles, in order, a few sites at a time.

    Args:
        model: it runs where its parameters lie, under the caller's autocast.
        genome: the reference, in the model's alphabet.
        sites: reference alleles must be the genome's.
        windows: how to look at them.
        bases_per_batch: bases read at once; None is 2^20 on a GPU with room for them and 2^14 elsewhere.
        label: see `judge`.
        advance: is called with the number of sites read since the last call, also before the first is given.

    Raises:
        UserError: a family without a likelihood, a label that is not the model's, a window longer than what
            the family can read, or a score that is not finite.
    """
    found = judge(model, bases_per_batch, label)
    backbone = model.backbone
    if windows.share and (not isinstance(found, Likelihood) or not (backbone.causal and backbone.recurrent)):
        raise UserError(f"share={windows.share}: this model reads each window whole; leave it out")
    rest = iter(sites)
    while some := list(islice(rest, SITES)):
        groups = [
            _Group.of(cell, part, genome)
            for cell, sites in groupby(some, lambda site: windows.cell(site, genome))
            for part in _parts(sites, found.reader.piece // SHORTEST_PIECE)
        ]
        for group, effects in zip(groups, _score(found, genome, groups, windows, advance), strict=True):
            yield from group.divided(effects)


def _parts(sites: Iterable[Site], most: int) -> Iterator[list[Site]]:
    """Yield the sites of a cell in parts of at most so many alternative alleles, or of one site."""
    part: list[Site] = []
    alts = 0
    for site in sites:
        alts += len(site.alleles) - 1
        if part and alts >= most:
            yield part
            part, alts = [], len(site.alleles) - 1
        part.append(site)
    yield part


class _Group(NamedTuple):
    """Sites whose flanks begin at the same bases, and one site of all their alleles, spelled from there."""

    sites: list[Site]
    joined: Site

    @classmethod
    def of(cls, cell: tuple[str, int, int], sites: list[Site], genome: Genome) -> "_Group":
        name, start, end = cell
        ref = genome.fetch(name, start, end)
        alleles = [ref]
        for site in sites:
            first = site.start - start
            before, after = ref[:first], ref[first + len(site.alleles[0]) :]
            alleles += [np.concatenate([before, alt, after]) for alt in site.alleles[1:]]
        return cls(sites, Site(name, start, tuple(alleles)))

    def divided(self, effects: Effects) -> Iterator[Effects]:
        """Yield the effects of each site."""
        first = 0
        for site in self.sites:
            alts = slice(first, first + len(site.alleles) - 1)
            llr, distance = (values[alts] for values in effects)
            need_finite(np.concatenate([llr, distance]), f"{site.name}:{site.start + 1}")
            yield Effects(llr, distance)
            first = alts.stop


def _score(
    found: Likelihood | Answers,
    genome: Genome,
    groups: Sequence[_Group],
    windows: Windows,
    advance: Callable[[int], None],
) -> Iterator[Effects]:
    """Yield the effects of each group's alleles, averaged over its views."""
    views = [view for group in groups for view in windows.views(group.joined, genome)]
    each = len(views) // len(groups)
    for i, view in enumerate(views):
        site = groups[i // each].joined
        length = len(view.before) + _longest(view)
        place = f"{site.name}:{site.start + 1}"
        found.reader.need_length(length, place, "set a smaller window")
        if isinstance(found, Answers):
            _need_one_length(found.model.decoder.length, view, place)
    scores: list[Effects] = [Effects(np.empty(0), np.empty(0))] * len(views)
    in_pieces = isinstance(found, CausalLikelihood) and found.reader.longest is None
    sites, read = sum(len(group.sites) for group in groups), 0
    batches = _batches(views, found.reader.piece, PIECE if in_pieces else None)
    for batch, (value, vector) in _read(found, views, batches):
        for i, effects in zip(batch, _effects([views[i] for i in batch], value, vector), strict=True):
            scores[i] = effects
        before, read = read, read + len(batch)
        # Views are read in another order than their sites: so many sites' worth.
        advance(sites * read // len(views) - sites * before // len(views))
    for i in range(0, len(views), each):
        yield Effects(*np.mean(scores[i : i + each], axis=0))


def _need_one_length(length: int | None, view: View, place: str) -> None:
    """Refuse what a model of sequences of one length can't read, by its place.

    Raises:
        UserError: the window is cut by a record's end, or an allele changes its length.
    """
    for allele in view.alleles:
        found = len(view.before) + len(allele) + len(view.after)
        if length is not None and found != length:
            raise UserError(
                f"{place}: the model reads sequences of {length:,} bases alone (decoder.mode=positions), and "
                f"an allele's window has {found:,}; leave out indels and variants near a record's ends"
            )


def _read(
    found: Likelihood | Answers, views: Sequence[View], batches: Iterable[list[int]]
) -> Iterator[tuple[list[int], tuple[NDArray[np.float64], ...]]]:
    """Yield each batch with the values and vectors of its alleles; the next is read meanwhile."""
    if isinstance(found, CausalLikelihood):
        yield from fetched((batch, found.allele_tensors([views[i] for i in batch])) for batch in batches)
    else:
        for batch in batches:
            yield batch, found.alleles([views[i] for i in batch])


def _effects(views: Sequence[View], value: NDArray[np.float64], vector: NDArray[np.float64]) -> list[Effects]:
    """Return the effects of views, averaged over nothing, from the values and vectors of their alleles."""
    effects, row = [], 0
    for view in views:
        alts = slice(row + 1, row + len(view.alleles))
        distance = np.linalg.norm(vector[alts] - vector[row], axis=-1)
        effects.append(Effects(value[alts] - value[row], distance))
        row = alts.stop
    return effects


def _batches(views: Sequence[View], budget: int, piece: int | None) -> Iterator[list[int]]:
    """Yield which views to read together: first flanks of one length, followed by similar lengths.

    Args:
        views: alleles between their flanks.
        budget: bases read at once.
        piece: how many bases of a row are read at once, at least; None: all.
    """
    batch: list[int] = []
    rows = 0
    for i in sorted(range(len(views)), key=lambda i: (len(views[i].before), _longest(views[i]))):
        before, after, count = len(views[i].before), _longest(views[i]), len(views[i].alleles)
        of_flank, of_tail = (before, after) if piece is None else (min(before, piece), min(after, piece))
        bases = max((len(batch) + 1) * of_flank, (rows + count) * of_tail)
        # Rows are padded to the longest, which pieces do not limit.
        unlike = bool(batch) and piece is not None and after > 9 / 8 * max(piece, _longest(views[batch[0]]))
        if batch and (bases > budget or unlike or before != len(views[batch[0]].before)):
            yield batch
            batch, rows = [], 0
        batch.append(i)
        rows += count
    yield batch


def _longest(view: View) -> int:
    return max(map(len, view.alleles)) + len(view.after)
