"""One label's answers at some bases or bins of a sequence, added up: what attribution asks of such a model.

In the unit of `Answers.values`: of classes the natural log odds of one against all others at each base, of a
track its value in each bin. Read as the reverse complement, the label is the one that it becomes on that
strand, and the bins are the same bases.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dnamamba.data.alphabet import Ids
from dnamamba.data.fasta import Genome
from dnamamba.data.intervals import Interval
from dnamamba.errors import UserError
from dnamamba.heads.metrics import log_odds_of
from dnamamba.inference.answers import number_of_label
from dnamamba.inference.likelihood import View
from dnamamba.inference.one_hot import OneHotModel
from dnamamba.inference.streaming import Reader
from dnamamba.kernels.exact import exact
from dnamamba.models import PositionModel


class Place(NamedTuple):
    """What is read, and where the answer lies in it.

    Attributes:
        first: the first base that is read, where a bin begins.
        ids: uint8 [L], whole bins: N stands for what a record's last bin lacks.
        bins: numbers of those whose answers are added up, on the forward strand.
    """

    first: int
    ids: Ids
    bins: slice


def place_of(genome: Genome, region: Interval, at: Interval, context: int, size: int) -> Place:
    """Return what is read to attribute the answer at `at` to the bases of `region`.

    Args:
        genome: the reference.
        region: whose bases are replaced.
        at: where the answer lies: every bin that it touches.
        context: bases on either side of both.
        size: bases of a bin.

    Raises:
        UserError: the two lie on different records.
    """
    if at.name != region.name:
        raise UserError(f"at: lies on {at.name}, the region on {region.name}; give a region of one record")
    first = max(0, min(region.start, at.start) - context) // size * size
    last = -(-(max(region.end, at.end) + context) // size) * size
    ids = genome.fetch(region.name, first, min(last, genome.lengths[region.name]))
    short = -len(ids) % size
    ids = np.concatenate([ids, np.full(short, genome.alphabet.n_id, dtype=np.uint8)])
    return Place(first, ids, slice((at.start - first) // size, -(-(at.end - first) // size)))


class PlaceAnswers:
    """The answer at a place, to alleles and to one-hot bases.

    Args:
        model: it runs where its parameters lie.
        label: one of the model's classes or tracks; None: the only one, or the second of two.
        place: what is read, and where the answer is.
        reverse: read the reverse complement.

    Raises:
        UserError: the model has no such label, or several and none was named.
    """

    def __init__(self, model: PositionModel, label: str | None, place: Place, *, reverse: bool) -> None:
        self.model, self.place = model, place
        self.reader = Reader(model, precision="fp32")
        self.head = model.decoder.head
        number = number_of_label(self.head.labels, label)
        bins, there = place.bins, len(place.ids) // model.decoder.bin
        self.number = model.decoder.complement[number] if reverse else number
        self.bins = slice(there - bins.stop, there - bins.start) if reverse else bins

    @property
    def unit(self) -> str:
        """Of the answer."""
        what = "natural log odds" if self.model.decoder.kind == "base_classes" else "the unit of the track"
        number, size = self.bins.stop - self.bins.start, self.model.decoder.bin
        unit = "base" if size == 1 else "bin"
        return f"{what} at one {unit}" if number == 1 else f"{what}, the sum over {number:,} {unit}s"

    def values(self, logits: Tensor) -> Tensor:
        """Return the answers [B] in logits [B, bins, C]."""
        chosen = logits[:, self.bins]
        if self.model.decoder.kind == "base_classes":
            found = log_odds_of(chosen, self.number)
        else:
            found = self.head.predict(chosen)[..., self.number]
        return found.sum(1)

    @torch.no_grad()
    def alleles(self, views: Sequence[View]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the answer to each single base between its flanks, twice; see `Answers.alleles`."""
        found = []
        for view in views:
            rows = [np.concatenate([view.before, allele, view.after]) for allele in view.alleles]
            tokens = torch.from_numpy(np.stack(rows)).to(self.reader.device)
            logits = self.model(tokens).logits
            decoded = torch.stack([self.model.decoded(row) for row in logits])
            found.append(self.values(exact(decoded)).cpu().numpy())
        values = np.concatenate(found)
        return values, values


class OneHotPlace(OneHotModel):
    """The answer at a place, [B, 1], to weights [B, 4, L] of the bases that are read.

    Args:
        asked: the question; what is N in its sequence counts in no bin, whatever the weights.
        reverse: as of `asked`.

    Raises:
        UserError: a chain over answers, whose posteriors have no gradient here.
    """

    at_a_place = True

    def __init__(self, asked: PlaceAnswers, *, reverse: bool) -> None:
        if asked.model.chain is not None:
            raise UserError(
                "method: of a chain over answers (data.chain=true) there is no gradient; choose method=ism"
            )
        super().__init__(asked.model, reverse=reverse)
        self.asked = asked
        ids = asked.place.ids
        turned = asked.reader.alphabet.reverse_complement(ids) if reverse else ids
        self.ids = torch.from_numpy(np.ascontiguousarray(turned)).to(asked.reader.device)

    def _answer(self, weights: Tensor) -> Tensor:
        with self._embedded(weights):
            logits = self.model(self.ids.expand(weights.shape[:2])).logits
        return self.asked.values(exact(logits))[:, None]
