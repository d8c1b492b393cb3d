"""What a fine-tuning's settings leave open, decided by simple models on the validation sequences.

Linear models are fitted in seconds and say what kind of data this is: whether a base counts by its place, and
whether a sequence and its reverse complement are the same to the labels.
"""

import math

import torch
from rich.console import Console
from torch import Tensor

from dnamamba.auto import AUTO
from dnamamba.data.words import Bases
from dnamamba.datasets.base import DataModule
from dnamamba.training.baselines import LONGEST, Baseline, Baselines, Fitted
from dnamamba.training.tuned import Pooling

# A difference counts from so many standard errors on.
SURE = 3.0

NO_MODELS = "there are no simple models to decide by"


def choose(
    pooling: Pooling,
    data: DataModule,
    baselines: Baselines | None,
    console: Console,
    *,
    may_learn: bool = True,
    causal: bool = True,
) -> tuple[Pooling, list[str]]:
    """Return what the head reads, and a sentence on each choice; decides an open `data.reverse_complement`.

    Args:
        pooling: the `decoder` group. Where `mode` is `auto` and sequences have one length: `mean` if words
            lose less than one-hot vectors, `positions` if these lose less, and if neither is sure `positions`
            of both sides after two convolutions, which can learn either. Else `mean`.
        data: of the run.
        baselines: to decide by; without them `auto` is `mean`, and both strands are read.
        console: shows that they are fitted.
        may_learn: whether the run can train a pooling.
        causal: whether the backbone reads to one side alone.
    """
    lines: list[str] = []
    is_open = data.reverse_complement is None
    if is_open:
        data.reverse_complement = not data.stranded
    if is_open and data.stranded:
        is_open = False
        lines.append("data.reverse_complement=false: the regions were given with their strands")
    settled, fitted = pooling.settled("mean"), Fitted()
    if baselines is not None and (is_open or pooling.mode == AUTO):
        fitted = baselines.fit(console)
    if pooling.mode == AUTO:
        mode, why = "mean", "task.fit=closed and train.chunk_bases leave no other choice"
        if may_learn and data.common_length is None:
            why = "the sequences differ in length"
        elif may_learn:
            mode, why = _mode(baselines, fitted)
        if mode == AUTO:
            settled = pooling.settled("positions", "both" if causal else "forward", 2)
        else:
            settled = pooling.settled(mode)
        reads = f"decoder.mode={settled.mode} decoder.context={settled.context} decoder.conv={settled.conv}"
        lines.append(f"{reads}: {why}")
    if is_open:
        data.reverse_complement, why = _strands(baselines, fitted)
        lines.append(f"data.reverse_complement={str(data.reverse_complement).lower()}: {why}")
    return settled, lines


def _mode(baselines: Baselines | None, fitted: Fitted) -> tuple[str, str]:
    """Return what simple models say of sequences of one length: `auto` if they are not sure; and why."""
    words, positions = fitted.words, fitted.positions
    if baselines is None or words is None:
        return "mean", NO_MODELS
    if positions is None:
        return "mean", f"the sequences are longer than {LONGEST:,} bases"
    lead, sure = _difference(_losses(baselines, words) - _losses(baselines, positions))
    if abs(sure) <= SURE:
        neither = f"neither {positions.name} nor {words.name} is surely better"
        return AUTO, f"on validation {neither} (losses {abs(lead):.3f} apart)"
    better, worse = (positions, words) if lead > 0 else (words, positions)
    why = f"on validation the loss of {better.name} is smaller by {abs(lead):.3f} than that of {worse.name}"
    return ("positions" if lead > 0 else "mean"), why


def _strands(baselines: Baselines | None, fitted: Fitted) -> tuple[bool, str]:
    """Return whether both strands are to be read, and why."""
    models = [one for one in (fitted.words, fitted.positions) if one is not None]
    if baselines is None or not models or fitted.valid is None:
        return True, NO_MODELS
    best = min(models, key=lambda one: _losses(baselines, one).mean().item())
    other = best.answer([_other_strand(row) for row in fitted.valid.rows])
    there = baselines.losses(other, fitted.valid.labels)
    loss, sure = _difference(there - _losses(baselines, best))
    said = f"on validation the loss of {best.name} is"
    if sure > SURE:
        return (
            False,
            f"{said} larger by {loss:.3f} on reverse complements, so that the strand means something",
        )
    return True, f"{said} not surely larger on reverse complements"


def _losses(baselines: Baselines, one: Baseline) -> Tensor:
    """Return the loss of each validation sequence, [n]."""
    found = one.scored["valid"]
    return baselines.losses(found.logits, found.labels)


def _difference(values: Tensor) -> tuple[float, float]:
    """Return the mean of differences [n], and how many standard errors it is from 0."""
    mean, error = values.mean().item(), values.std().item() / math.sqrt(len(values))
    return mean, mean / error if error > 0 else 0.0


def _other_strand(row: Bases) -> Bases:
    """Return the reverse complement; what is not a base stays."""
    bases = torch.from_numpy(row)
    return torch.where(bases < 4, 3 - bases, bases).flip(0).numpy()
