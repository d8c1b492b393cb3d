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
from dnamamba.training.baselines import Baseline, Baselines
from dnamamba.training.tuned import Pooling

# A difference counts from so many standard errors on.
SURE = 3.0


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
    is_open, lines = data.reverse_complement is None, []
    if is_open:
        data.reverse_complement = not data.stranded
    if is_open and data.stranded:
        is_open = False
        lines.append("data.reverse_complement=false: the regions were given with their strands")
    if not (is_open or pooling.mode == AUTO) or baselines is None:
        return pooling.settled("mean"), lines
    fitted = baselines.fit(console)
    words, positions = fitted.words, fitted.positions
    aligned = may_learn and data.common_length is not None
    if pooling.mode == AUTO and aligned and words is not None and positions is not None:
        lead, sure = _difference(_losses(baselines, words) - _losses(baselines, positions))
        if sure > SURE:
            pooling = pooling.settled("positions")
            lines.append(
                f"decoder.mode=positions: on validation the loss of {positions.name} is smaller by "
                f"{lead:.3f} than that of {words.name}"
            )
        elif sure >= -SURE:
            pooling = pooling.settled("positions", "both" if causal else "forward", 2)
            lines.append(
                f"decoder.mode=positions decoder.context={pooling.context} decoder.conv={pooling.conv}: on "
                f"validation neither {positions.name} nor {words.name} is surely better (losses {lead:.3f} "
                "apart)"
            )
    if is_open and words is not None and fitted.valid is not None:
        models = [one for one in (words, positions) if one is not None]
        best = min(models, key=lambda one: _losses(baselines, one).mean().item())
        other = best.answer([_other_strand(row) for row in fitted.valid.rows])
        there = baselines.losses(other, fitted.valid.labels)
        loss, sure = _difference(there - _losses(baselines, best))
        if sure > SURE:
            data.reverse_complement = False
            lines.append(
                f"data.reverse_complement=false: on validation the loss of {best.name} is larger by "
                f"{loss:.3f} on reverse complements, so that the strand means something"
            )
    return pooling.settled("mean"), lines


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
