"""Markov models of the training bases: what a language model of DNA has to beat."""

from collections.abc import Sequence
from functools import cached_property

from rich.console import Console

from dnamamba.data.fasta import Genome
from dnamamba.data.intervals import Interval, joined
from dnamamba.data.markov import MarkovModel
from dnamamba.data.sampling import Windows, gather

_AT_A_TIME = 1 << 20


class Baselines:
    """Markov models of several orders, fitted when they are first asked for.

    Args:
        genome: of the alphabet `dna`.
        intervals: the training intervals; both strands are counted.
        orders: of the models.
    """

    def __init__(self, genome: Genome, intervals: Sequence[Interval], orders: Sequence[int]) -> None:
        self.genome = genome
        self.intervals = intervals
        self.orders = orders

    def bits(self, names: Sequence[str], tiles: Windows, length: int, console: Console) -> dict[int, float]:
        """Return bits per base of each order on windows of `length` targets of the records `names`.

        Args:
            names: records of the split.
            tiles: their windows.
            length: targets of a window.
            console: shows the progress.
        """
        if not tiles.start.size or not self.orders:
            return {}
        with console.status("fitting Markov models"):
            models = self._models
        bits, bases = dict.fromkeys(models, 0.0), 0
        rows = max(1, _AT_A_TIME // length)
        for first in range(0, tiles.start.size, rows):
            tokens = gather(self.genome, names, tiles.take(slice(first, first + rows)), length)
            for order, model in models.items():
                cost, scored = model.bits(tokens)
                bits[order] += cost
            bases += scored
        return {order: cost / bases for order, cost in bits.items()}

    @cached_property
    def _models(self) -> dict[int, MarkovModel]:
        records = (self.genome.fetch(*interval) for interval in joined(self.intervals))
        largest = MarkovModel.fit(records, max(self.orders))
        return {order: largest.lower(order) for order in self.orders}
