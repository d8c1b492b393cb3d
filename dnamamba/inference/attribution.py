"""Attribution of a prediction to the bases of a region: gradients, integrated gradients, mutagenesis.

The answer is that of one sequence: the region with its context. It is a pretrained model's log-likelihood of
the sequence in nats, or a fine-tuned model's answer to a label in the unit of `Answers.values`; of a model
that answers per base or bin the sum of its answers at a place, see `dnamamba.inference.place_answers`.

    gradient     d answer / d weight of each base at each position, less its mean over the four bases
    integrated   (x - b) * the mean gradient on the line from b to x, x one-hot and b all N: the sum over the
                 sequence is answer(x) - answer(b)
    ism          answer with the base replaced - answer

Source: Sundararajan et al. 2017 (integrated gradients); Majdandzic et al. 2023, Genome Biol. 24:109 (the mean
that is taken off a gradient has no meaning: the weights of a position sum to 1).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dnamamba.checkpoint import Model
from dnamamba.data.alphabet import get_alphabet
from dnamamba.data.fasta import Genome
from dnamamba.data.intervals import Interval
from dnamamba.errors import UserError
from dnamamba.inference.answers import Answers
from dnamamba.inference.device import need_finite
from dnamamba.inference.effects import STRANDS, judge
from dnamamba.inference.inputs import need_alphabet
from dnamamba.inference.likelihood import View
from dnamamba.inference.one_hot import LETTERS, OneHotModel, need_one_hot, one_hot_of, replacements
from dnamamba.inference.place_answers import OneHotPlace, PlaceAnswers, place_of
from dnamamba.kernels.exact import exact
from dnamamba.models import PositionModel, SequenceModel

METHODS = ("gradient", "integrated", "ism")
Floats = NDArray[np.float64]
# Points on the line from nothing to the sequence: doubled until the sum is right, at most to the last number.
FEWEST_POINTS, MOST_POINTS = 16, 1024
ALL_POINTS = 2 * MOST_POINTS - FEWEST_POINTS
"""Gradients of `integrated`, if no number of points before the last one is enough."""
_ROWS = 32


class Attribution(NamedTuple):
    """What the bases of a region do to an answer.

    Attributes:
        region: where.
        letters: its reference bases.
        values: float64 [length, 4], of A, C, G, T at each position; see `METHODS`. NaN where the base is
            unknown.
        contribution: float64 [length], of the base that is there: its gradient, its integrated gradient, or
            minus the mean of its three replacements.
        unit: of the values.
        gap: of `integrated`, by how much the sum over the sequence misses the answer's difference; else 0.
        difference: that difference's size, the mean over strands; else 0.
        converged: whether the gap is within the tolerance.
    """

    region: Interval
    letters: str
    values: Floats
    contribution: Floats
    unit: str
    gap: float = 0.0
    difference: float = 0.0
    converged: bool = True


def attribute(
    model: Model,
    genome: Genome,
    region: Interval,
    method: str = "ism",
    *,
    context: int = 512,
    strand: str = "both",
    label: str | None = None,
    at: Interval | None = None,
    tolerance: float = 1e-3,
    advance: Callable[[int], None] = lambda done: None,
) -> Attribution:
    """Say what each base of a region does to the answer to the region with its context.

    Args:
        model: it runs where its parameters lie, in their precision.
        genome: the reference, in the model's alphabet.
        region: of the genome.
        method: `gradient`, `integrated` or `ism`.
        context: bases that are read on either side, as many as there are.
        strand: `both` (averaged), `forward` or `reverse`; of a model that averages strands itself, `both`.
        label: of a fine-tuned model, whose answer is meant; None: the only one, or the second of two.
        at: of a model that answers per base or bin, where its answers are added up; None: in the region.
        tolerance: of `integrated`: the gap at which points are enough, relative to the answer's difference.
        advance: is called with the number of bases done since the last call; with `integrated` with that of
            points, `ALL_POINTS` for each strand that is read.

    Raises:
        UserError: a value is out of range, a region that the genome does not have, a label that is not the
            model's, or a model without gradients at its bases.
    """
    if method not in METHODS:
        raise UserError(f"method: must be one of {', '.join(METHODS)} (got {method!r})")
    if strand not in STRANDS:
        raise UserError(f"strand: must be one of {', '.join(STRANDS)} (got {strand!r})")
    if context < 0:
        raise UserError(f"context: must be at least 0 (got {context})")
    need_alphabet(genome, get_alphabet(model.config.alphabet))
    turns = turns_of(model, strand)
    asked: list[Any]
    if isinstance(model, PositionModel):
        first, ids, _ = place = place_of(genome, region, at or region, context, model.decoder.bin)
        asked = [PlaceAnswers(model, label, place, reverse=turn) for turn in turns]
    elif at is not None:
        raise UserError("at: has no meaning for a model that answers once per sequence; leave it out")
    else:
        asked = [judge(model, label=label)] * len(turns)
        first, last = max(0, region.start - context), min(genome.lengths[region.name], region.end + context)
        ids = genome.fetch(region.name, first, last)
    where = f"{region.name}:{region.start + 1}"
    asked[0].reader.need_length(len(ids), where, "set a smaller context")
    letters = genome.alphabet.decode(genome.fetch(*region)).upper()
    inside = slice(region.start - first, region.end - first)
    gap = size = enough = 0.0
    if method == "ism":
        rows = [_mutated(one, ids, inside, turn, advance) for one, turn in zip(asked, turns, strict=True)]
        values = np.mean(rows, axis=0)
        contribution = -values.sum(1) / 3
    else:
        need_one_hot(ids, genome.alphabet, region.name, first)
        x = one_hot_of(ids, model.config.alphabet, model.backbone.dtype).to(model.backbone.device)
        parts = []
        for found, turn in zip(asked, turns, strict=True):
            answer = _answer(model, found, turn)
            if method == "gradient":
                parts.append(gradient(answer, x))
                advance(region.length)
            else:
                part, missed, difference = integrated(answer, x, tolerance, advance=advance)
                parts.append(part)
                gap += missed / len(turns)
                size += abs(difference) / len(turns)
                enough += allowed(difference, tolerance) / len(turns)
        values = torch.stack(parts).mean(0)[0].T[inside].double().cpu().numpy()
        there = np.array([LETTERS.find(letter) for letter in letters])
        if method == "gradient":
            values = values - values.mean(1, keepdims=True)
        contribution = values[np.arange(len(letters)), there]
    known = np.array([letter in LETTERS for letter in letters])
    need_finite(values[known], where)
    values[~known], contribution[~known] = np.nan, np.nan
    unit = asked[0].unit if isinstance(asked[0], Answers | PlaceAnswers) else "nats"
    return Attribution(region, letters, values, contribution, unit, gap, size, gap <= enough)


def turns_of(model: Model, strand: str) -> tuple[bool, ...]:
    """Return whether each strand that is read is the other one; some models read both by themselves."""
    alone = isinstance(model, SequenceModel) and model.decoder.strand == "both"
    return (False,) if alone else STRANDS[strand]


def gradient(answer: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Compute the gradient [B, 4, L] of each row's answer [B] at weights x [B, 4, L]."""
    with torch.enable_grad():
        point = x.detach().clone().requires_grad_()
        (found,) = torch.autograd.grad(answer(point).sum(), point)
    return found


def integrated(
    answer: Callable[[Tensor], Tensor],
    x: Tensor,
    tolerance: float,
    start: Tensor | None = None,
    advance: Callable[[int], None] = lambda done: None,
) -> tuple[Tensor, float, float]:
    """Return integrated gradients [1, 4, L] of x [1, 4, L], by how much their sum misses the difference, it.

    Gauss and Legendre's points, twice as many until the gap is small.

    Args:
        answer: weights [B, 4, L] to answers [B].
        x: the sequence.
        tolerance: the gap that is small enough, relative to the difference (or to 1, where that is less).
        start: where the line begins; None: all zeros, a sequence of N.
        advance: is called with the number of points done since the last call, in the end `ALL_POINTS` in all.
    """
    start = torch.zeros_like(x) if start is None else start
    with torch.no_grad():
        difference = (answer(x) - answer(start)).double().item()
    points, left = FEWEST_POINTS, ALL_POINTS
    while True:
        places, weights = np.polynomial.legendre.leggauss(points)
        total = torch.zeros_like(x, dtype=torch.float64)
        for rows in np.array_split(np.arange(points), -(-points // _ROWS)):
            place = torch.as_tensor((places[rows] + 1) / 2, dtype=x.dtype, device=x.device)[:, None, None]
            weight = torch.as_tensor(weights[rows] / 2, device=x.device)[:, None, None]
            total += (gradient(answer, start + place * (x - start)).double() * weight).sum(0, keepdim=True)
            advance(len(rows))
        left -= points
        found = (x - start).double() * total
        gap = abs(found.sum().item() - difference)
        if gap <= allowed(difference, tolerance) or points >= MOST_POINTS:
            advance(left)
            return found, gap, difference
        points *= 2


def allowed(difference: float, tolerance: float) -> float:
    """Return the gap that is small enough: relative to the difference, or to 1 where that is less."""
    return tolerance * max(1.0, abs(difference))


def _answer(asked_model: Model, found: object, reverse: bool) -> Callable[[Tensor], Tensor]:
    """Return weights [B, 4, L] to the answer that is meant, [B]: in the unit of `Answers.values`."""
    if isinstance(found, PlaceAnswers):
        positions = OneHotPlace(found, reverse=reverse)
        return lambda x: positions(x)[:, 0]
    model = OneHotModel(asked_model, reverse=reverse)
    if not isinstance(found, Answers):
        return lambda x: model(x)[:, 0]
    number, head = found.label_number(), found.head
    # In float64: of a number far from zero float32 would lose the digits in which two answers differ.
    return lambda x: head.effect(exact(model(x)), number)


def _mutated(
    found: object, ids: NDArray[np.uint8], inside: slice, reverse: bool, advance: Callable[[int], None]
) -> Floats:
    """Return the effect of each base's replacements on the whole's answer, [length, 4]; 0 for itself."""
    alphabet = found.reader.alphabet  # type: ignore[attr-defined]
    flip = alphabet.reverse_complement
    values = np.zeros((inside.stop - inside.start, 4))
    for row, place in enumerate(range(inside.start, inside.stop)):
        others, new = replacements(int(ids[place]), alphabet)
        alleles = (ids[place : place + 1], *(new[i : i + 1] for i in range(len(new))))
        if len(others):
            before, after = ids[:place], ids[place + 1 :]
            view = View(before, alleles, after)
            if reverse:
                view = View(flip(after), tuple(flip(one) for one in alleles), flip(before))
            answers, _ = found.alleles([view])  # type: ignore[attr-defined]
            values[row, others] = answers[1:] - answers[0]
        advance(1)
    return values
