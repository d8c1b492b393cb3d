"""Bits per base of held-out yeast: chrVI in windows of 512 bases, compared with Markov models."""

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from dnamamba.data.markov import MarkovModel
from dnamamba.datasets.genome import GenomeConfig, GenomeData
from dnamamba.models import LanguageModel
from dnamamba.objectives.next_base import IGNORED, targets_of
from dnamamba.suite.base import Published, Row, Suite
from dnamamba.suite.intervals import ratio


class YeastBits(Suite):
    """What a base of chrVI costs a model that was trained on 14 other chromosomes, or on anything else."""

    name = "yeast_bits"
    reads_files = False
    metric = "bits_per_base"
    protocols = ("zero_shot",)
    published = (
        Published(
            "the package's yeast model",
            "zero_shot",
            1.9336,
            "dnamamba, measured 2026-11-28 on a CPU, seed 0",
            1.9306,
            1.9364,
        ),
    )

    def data(self) -> GenomeConfig:
        """Return the default data of a pretraining; its test split is what is scored."""
        return GenomeConfig()

    def zero_shot(self, model: LanguageModel, seed: int) -> Row:
        """Score the next-base cross-entropy of every base but the first of each window, in bits."""
        data, place, costs, counts = self._opened(seed), model.backbone.device, [], []
        scored = torch.from_numpy(data.alphabet.scored.copy()).to(place)
        for batch in dict(data.held_out_loaders())["test"]:
            tokens = batch["tokens"].to(place)
            logits, targets = model(tokens[:, :-1]).logits, targets_of(tokens, scored)
            nats = F.cross_entropy(logits.float().mT, targets, ignore_index=IGNORED, reduction="none")
            costs.append(nats.double().sum(1).cpu().numpy() / math.log(2))
            counts.append((targets != IGNORED).sum(1).cpu().numpy())
        return self._row("zero_shot", "", np.concatenate(costs), np.concatenate(counts), seed)

    def baselines(self, seed: int) -> Sequence[Row]:
        """Return Markov models of both strands of the training chromosomes, by order."""
        data = self._opened(seed)
        windows = np.concatenate([batch["tokens"].numpy() for batch in dict(data.held_out_loaders())["test"]])
        training = [data.genome.fetch(*interval) for interval in data.splits.train]
        largest, rows = MarkovModel.fit(training, max(data.config.markov_orders)), []
        for order in data.config.markov_orders:
            model = largest.lower(order)
            costs, counts = np.array([model.bits(window[None]) for window in windows]).T
            rows.append(self._row("baseline", f"Markov order {order}", costs, counts.astype(np.int64), seed))
        return rows

    def _opened(self, seed: int) -> GenomeData:
        config = self.data()
        size = config.windows_at_a_time
        return GenomeData(config, seed, global_batch_size=size, max_steps=1, world_size=1)

    def _row(self, protocol: str, model: str, costs: np.ndarray, counts: np.ndarray, seed: int) -> Row:
        value, low, high = ratio(costs, counts, self.bootstrap, seed)
        return Row(protocol, model, self.metric, value, low, high, len(costs))
