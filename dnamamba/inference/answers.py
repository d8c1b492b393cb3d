"""What a fine-tuned model answers: about sequences of any length, and about alleles between two flanks."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from dnamamba.checkpoint import Model
from dnamamba.data.alphabet import Ids
from dnamamba.data.labelled import padded
from dnamamba.errors import UserError, whole_number
from dnamamba.escaping import printable
from dnamamba.inference.device import precision_of
from dnamamba.inference.likelihood import View
from dnamamba.inference.streaming import Reader
from dnamamba.kernels.exact import exact
from dnamamba.models import PositionModel, SequenceModel

Key = TypeVar("Key")
BATCH = 32  # sequences read together
WINDOW = 8192  # bases around a variant that a pretrained model reads
_TOGETHER = 1 << 20  # bases of a batch, padding included


def need_sequence_model(model: Model, name: str = "this") -> SequenceModel:
    """Return the same model, which answers a question.

    Raises:
        UserError: it is a pretrained one, which predicts bases.
    """
    if isinstance(model, PositionModel):
        raise UserError(
            f"{name} answers at every base or bin, not once per sequence: ask it by dnamamba predict, or in "
            "Python by dnamamba.predict_positions"
        )
    if not isinstance(model, SequenceModel):
        raise UserError(f"{name} is a pretrained model without a head: fine-tune it first")
    return model


def with_strand(model: SequenceModel, strand: str | None) -> SequenceModel:
    """Return the same weights, predicting for `forward` or `both` strands; None: as fine-tuned.

    Raises:
        UserError: another word.
    """
    if strand is None or strand == model.decoder.strand:
        return model
    decoder = dataclasses.replace(model.decoder, strand=strand)
    with torch.device("meta"):
        other = SequenceModel(model.config, decoder)
    other.load_state_dict(model.state_dict(), assign=True)
    return other.to(model.backbone.device).eval()


def number_of_label(labels: Sequence[str], given: str | None) -> int:
    """Return the number of the label that is meant: the given one, the only one, or the second of two.

    Raises:
        UserError: there is no such label, or there are several and none was named.
    """
    if given is None and len(labels) > 2:
        raise UserError(f"label: the model has {', '.join(labels)}; name the one whose answer is wanted")
    if given is not None and given not in labels:
        raise UserError(f"label: the model has {', '.join(labels)} (got {given!r})")
    return len(labels) - 1 if given is None else list(labels).index(given)


def label_taken(model: Model, given: str | None) -> str | None:
    """Return one line to say which of two labels is taken where none was named; None if there is no choice.

    Args:
        model: any; a pretrained one has no labels.
        given: the label that was named.
    """
    if given is not None or not isinstance(model, SequenceModel | PositionModel):
        return None
    labels = model.decoder.head.labels
    if len(labels) != 2:
        return None
    first, second = map(printable, labels)
    return f"label={second}, the second of {first}, {second} (label= chooses another)"


def window_taken(model: Model, given: int | None) -> tuple[int, str | None]:
    """Return the bases of a window around a variant, and a line on it for a person, if there is one to say.

    A fine-tuned model reads as many as its longest training sequence had; any other reads 8,192.

    Args:
        model: any.
        given: what was asked for; None: what suits the model.

    Raises:
        UserError: the model reads windows of one length alone, and another was asked for.
    """
    if given is not None:
        whole_number("window", given)
    decoder = model.decoder if isinstance(model, SequenceModel) else None
    longest = None if decoder is None else decoder.length or decoder.longest
    if longest is None:
        if given is not None or decoder is None:
            return WINDOW if given is None else given, None
        return WINDOW, f"window={WINDOW}: the model does not say how long its training sequences were"
    assert decoder is not None
    if given is None:
        return max(2, longest), f"window={longest}, the length of the model's longest training sequence"
    if decoder.length is not None and given != decoder.length:
        raise UserError(
            f"window: the model was fine-tuned with decoder.mode=positions and reads {decoder.length} bases "
            f"alone (got {given}); leave it out"
        )
    if given > longest:
        return given, (
            f"window={given} is longer than every sequence the model was fine-tuned on, of at most {longest} "
            f"bases: leave it out to read {longest}"
        )
    return given, None


class Answers:
    """A fine-tuned model that reads.

    Args:
        model: runs where its parameters lie.
        label: whose answer `alleles` gives, one of the model's; None: the only one, or the second of two.
        precision: of the matrix products, see `dnamamba.inference.device.precision_of`.
        piece: bases read at once, of a recurrent family; by default what suits the device.
        batch_size: sequences read together.

    Raises:
        UserError: an unknown precision or label, or a number below 1.
    """

    def __init__(
        self,
        model: SequenceModel,
        *,
        label: str | None = None,
        precision: str = "auto",
        piece: int | None = None,
        batch_size: int = BATCH,
    ) -> None:
        if batch_size < 1:
            raise UserError(f"batch_size: must be at least 1 (got {batch_size})")
        self.model, self.batch_size = model, batch_size
        self.head = model.decoder.head
        self.given = label
        # In fp32 a reader leaves the autocast of `_precision` as it is.
        self.reader = Reader(model, precision="fp32", piece=piece)
        self._precision = precision_of(model, precision)
        if label is not None:
            self.label_number()

    def label_number(self) -> int:
        """Return the number of the label whose answer is given.

        Raises:
            UserError: the model has no such label, or several and none was named.
        """
        return number_of_label(self.head.labels, self.given)

    @property
    def label(self) -> str:
        """The label whose answer is given."""
        return self.head.labels[self.label_number()]

    @property
    def unit(self) -> str:
        """What a difference of two answers is measured in."""
        return self.head.effect_unit(self.label_number())

    def logits(self, sequences: Iterable[tuple[Key, Ids]]) -> Iterator[tuple[list[Key], NDArray[np.float64]]]:
        """Yield answers [n, C] of the next n sequences, in order: short ones are read together.

        Args:
            sequences: each with what it is called; uint8 ids of at least one base.

        Raises:
            UserError: a sequence is longer than what a family that is not recurrent can read.
        """
        waiting: list[tuple[Key, Ids]] = []
        longest = 0
        for key, ids in sequences:
            self.reader.need_length(ids.size, str(key), "give shorter sequences, or a window")
            alone = ids.size > self.reader.piece
            longest = max(longest, ids.size)
            full = len(waiting) == self.batch_size or (len(waiting) + 1) * longest > _TOGETHER
            if waiting and (alone or full):
                yield self._together(waiting)
                waiting, longest = [], ids.size
            if alone:
                yield [key], self._alone(ids)
                longest = 0
            else:
                waiting.append((key, ids))
        if waiting:
            yield self._together(waiting)

    def values(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the answer to `label`, [n], of logits [n, C]: see `Head.effect`."""
        return self.head.effect(torch.from_numpy(logits), self.label_number()).numpy()

    def alleles(self, views: Sequence[View]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the answer to each allele between its flanks, [rows], and all logits, [rows, C].

        Args:
            views: a row is an allele, the first view's first.
        """
        logits = self.allele_logits(views)
        return self.values(logits), logits

    def allele_logits(self, views: Sequence[View]) -> NDArray[np.float64]:
        """Return the logits of `alleles` alone, [rows, C], which need no label."""
        rows = [
            np.concatenate([view.before, allele, view.after]) for view in views for allele in view.alleles
        ]
        return np.concatenate([made for _, made in self.logits(enumerate(rows))])

    @torch.no_grad()
    def _together(self, rows: list[tuple[Key, Ids]]) -> tuple[list[Key], NDArray[np.float64]]:
        keys, ids = zip(*rows, strict=True)
        tokens, lengths = padded(ids, self.reader.alphabet.pad_id, "right")
        on_device = self.reader.to_device(tokens)
        with self._precision:
            logits = self.model(on_device, torch.from_numpy(lengths).to(self.reader.device))
        return list(keys), exact(logits).cpu().numpy()

    def _alone(self, ids: Ids) -> NDArray[np.float64]:
        both = self.model.decoder.strand == "both"
        other = self.reader.tokens(ids, reverse=True) if both else None
        with self._precision:
            return exact(self.model.read(self.reader.tokens(ids), other)).cpu().numpy()
