"""A genome and its annotation as windows with a class for every base."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dnamamba.data.base_classes import IGNORED, BaseClasses, base_classes, left_out
from dnamamba.data.embedded import YEAST_CODING_SEQUENCES
from dnamamba.data.position_windows import Targets
from dnamamba.datasets.annotation.config import YEAST_CLASSES, AnnotationConfig
from dnamamba.datasets.positions import PositionsData
from dnamamba.models import PositionConfig, PositionModel
from dnamamba.models.pooling import UNKNOWN, base_table


class AnnotationData(PositionsData):
    """Windows with a class for every base. Without files, the package's yeast and its coding sequences.

    Arguments and errors as of `dnamamba.datasets.base.DataModule`.
    """

    config_class = AnnotationConfig

    def targets_of(self) -> Targets:
        """Return the class of every base that is known."""
        config: AnnotationConfig = self.config
        own = config.annotation is None
        self.found: BaseClasses = base_classes(
            YEAST_CODING_SEQUENCES if config.annotation is None else config.annotation,
            self.genome.lengths,
            self.genome.path,
            kinds=YEAST_CLASSES if own and config.classes is None else config.classes,
            column=config.column,
            stranded=config.strand == "separate",
            unstranded=config.unstranded,
            unknown=config.unknown,
        )
        known = base_table(self.alphabet.name).numpy() != UNKNOWN
        values = {
            name: left_out(row, self.genome.fetch(name), known) for name, row in self.found.values.items()
        }
        table = np.full(256, IGNORED, dtype=np.uint8)
        table[: len(self.found.layout.labels)] = self.found.layout.complement

        def turned(row: NDArray[Any]) -> NDArray[Any]:
            return table[row]

        return Targets(values, 1, turned, IGNORED)

    def question(self, context: str, conv: int) -> PositionConfig:
        """Return the head's configuration: a class per base."""
        labels, complement, _ = self.found.layout
        return PositionConfig(
            "base_classes",
            labels,
            complement,
            self.config.max_length,
            context=context,
            conv=conv,
            chain=self.config.chain,
        )

    def begin(self, model: PositionModel) -> None:
        """Give a chain the shares of steps between training bases, of the strands that are read."""
        if model.chain is None:
            return
        size = len(self.found.layout.labels)
        counts = np.zeros(size * size)
        for one in self.splits.train:
            row = self.targets.values[one.name][one.start : one.end].astype(np.int64)
            known = (row[:-1] != IGNORED) & (row[1:] != IGNORED)
            counts += np.bincount((row[:-1] * size + row[1:])[known], minlength=size * size)
        steps = torch.from_numpy(counts.reshape(size, size))
        if self.reverse_complement:
            other = list(self.found.layout.complement)
            steps = steps + steps.T[other][:, other]
        model.chain.begin(steps)

    @property
    def train_counts(self) -> tuple[list[int], int]:
        """Training bases of each class, and of all; with reverse complements, of either strand."""
        number = len(self.found.layout.labels)
        counts = np.zeros(256)
        for one in self.splits.train:
            counts += np.bincount(self.targets.values[one.name][one.start : one.end], minlength=256)
        counts = counts[:number]
        if self.reverse_complement:
            counts = (counts + counts[list(self.found.layout.complement)]) / 2
        return [int(count) for count in counts], int(sum(counts))

    @property
    def notes(self) -> tuple[str, ...]:
        """How the features were read, and bases of each class."""
        counts, total = self.train_counts
        shares = ", ".join(
            f"{label} {100 * count / total:.2f} %"
            for label, count in zip(self.found.layout.labels, counts, strict=True)
        )
        return (*self.synonyms.said(), *self.found.notes, f"training bases: {shares}")


AnnotationConfig.module = AnnotationData
