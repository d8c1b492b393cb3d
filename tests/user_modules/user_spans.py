"""Predict a masked span; where it lies is a function of the sample's number alone."""

import math

import torch
import torch.nn.functional as F

from dnamamba.data.alphabet import get_alphabet
from dnamamba.objectives.base import Meter, Objective


class Spans(Objective):
    def __init__(self, config, span=4):
        super().__init__()
        self.span, self.mask_id = span, config.vocab_size - 1
        scored = torch.from_numpy(get_alphabet(config.alphabet).scored.copy())
        self.register_buffer("scored", scored)  # which checkpoints hold too

    def masked(self, batch):
        length = batch["tokens"].shape[1]
        start = batch["index"] * 2654435761 % (length - self.span + 1)
        place = torch.arange(length, device=start.device) - start[:, None]
        return (place >= 0) & (place < self.span) & self.scored[batch["tokens"].int()]

    def loss_sum(self, model, batch):
        masked = self.masked(batch)
        logits = model(batch["tokens"].masked_fill(masked, self.mask_id)).logits[masked]
        return F.cross_entropy(logits.float(), batch["tokens"][masked].long(), reduction="sum")

    def number_of_targets(self, batch):
        return self.masked(batch).sum()

    def meter(self):
        return SpanMeter(self)

    def unchanged(self):
        return {"span": self.span}


class SpanMeter(Meter):
    headline = "bits_per_masked_base"

    def __init__(self, objective):
        super().__init__()
        self.objective = (objective,)
        self.reset()

    def update(self, model, batch):
        self.nats += self.objective[0].loss_sum(model, batch).double()
        self.targets += self.objective[0].number_of_targets(batch)

    def compute(self):
        return {self.headline: self.nats / self.targets / math.log(2)}

    def reset(self):
        self.nats, self.targets = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.int64)
