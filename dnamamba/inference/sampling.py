"""Drawing the next base from a model's logits."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dnamamba.errors import UserError, whole_number

# Below the first only equal logits are drawn among, above the second all alike; both and 1 / T fit float32.
LEAST_TEMPERATURE, LARGEST_TEMPERATURE = 1e-30, 1e30


@dataclass(frozen=True)
class Sampling:
    """How a base is drawn.

    Args:
        temperature: logits are divided by it; 0 takes the likeliest base.
        top_k: only this many of the likeliest bases may be drawn.
        top_p: only the likeliest bases that together have this probability, the last included, may be drawn.

    Raises:
        UserError: a number is out of range; the message names it.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("temperature", self.temperature), ("top_p", self.top_p)):
            if isinstance(value, bool) or not isinstance(value, int | float | np.number | None):
                raise UserError(f"{name}: must be a number (got {value!r})")
        if not 0 <= self.temperature < math.inf:
            raise UserError(f"temperature: must be a number of at least 0 (got {self.temperature})")
        if self.top_k is not None and whole_number("top_k", self.top_k) < 1:
            raise UserError(f"top_k: must be at least 1 (got {self.top_k})")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise UserError(f"top_p: must be above 0 and at most 1 (got {self.top_p})")

    def draw(self, logits: Tensor, allowed: Tensor, noise: Tensor) -> Tensor:
        """Return ids [B], int64, drawn by the Gumbel-max rule: softmax without a loop, a search or a host.

        Args:
            logits: [B, V].
            allowed: bool [V], ids that may be drawn; the others have no part in the probabilities.
            noise: [B, V], independent standard Gumbel numbers.
        """
        logits = logits.masked_fill(~allowed, -math.inf)
        if self.temperature == 0:
            return logits.argmax(-1)
        temperature = min(max(float(self.temperature), LEAST_TEMPERATURE), LARGEST_TEMPERATURE)
        # The gap to the likeliest base, which is 0 at any temperature: logits would overflow at a small one.
        logits = (logits - logits.amax(-1, keepdim=True)) / temperature
        if self.top_k is None and self.top_p is None:
            return (logits + noise).argmax(-1)
        ranked, ids = logits.sort(descending=True, stable=True)
        if self.top_p is not None:
            probability = ranked.softmax(-1)
            before = probability.cumsum(-1) - probability
            ranked = ranked.masked_fill(before >= self.top_p, -math.inf)
        if self.top_k is not None:
            ranked[:, self.top_k :] = -math.inf
        best = (ranked + noise.gather(-1, ids)).argmax(-1, keepdim=True)
        return ids.gather(-1, best).squeeze(-1)


def gumbel(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Return standard Gumbel numbers, fp32, on the CPU: the same for a seed wherever the model lies."""
    return -torch.empty(shape).exponential_(generator=generator).log()
