"""Which species is a window from? Several genomes as batches of a classifier."""

import hashlib
from collections.abc import Iterator
from typing import Any, Unpack

import numpy as np
from torch.utils.data import DataLoader

from dnamamba.data.alphabet import get_alphabet
from dnamamba.data.labelled import Batch
from dnamamba.data.length_schedule import LengthSchedule, rows_at_a_time
from dnamamba.data.species import SPLITS, CleanStretches
from dnamamba.data.species_loader import SpeciesSet, SpeciesStream
from dnamamba.data.species_windows import SpeciesWindows
from dnamamba.data.stateless import Int64s
from dnamamba.datasets.base import DataModule, Steps
from dnamamba.datasets.species.config import SpeciesConfig
from dnamamba.errors import UserError
from dnamamba.models import DecoderConfig


class SpeciesData(DataModule):
    """Stages of random windows of growing length to train on, fixed windows of the last to test on.

    Every split is drawn from its own loci. A fixed set has as many windows of each species and is the same
    whatever the training seed.

    Args:
        config: the `data` group.
        seed: of the training windows.
        global_batch_size: sequences an optimiser step, at every length.
        max_steps: optimiser steps of the run.
        world_size: number of processes.

    Raises:
        UserError: files, loci or batches that can't be used.
    """

    config_class = SpeciesConfig

    def __init__(self, config: SpeciesConfig, seed: int, **steps: Unpack[Steps]) -> None:
        super().__init__(config, seed, **steps)
        if config.alphabet != "dna":
            raise UserError(
                f"the model's alphabet is {config.alphabet}, which keeps case, so that soft-masking would "
                "tell the species; choose a model of the alphabet dna"
            )
        self.config = config
        self.alphabet = get_alphabet(config.alphabet)
        self.schedule: LengthSchedule = config.schedule(**steps)
        self.genomes, self.splits = config.genomes_and_splits(self.alphabet)
        self.genomes.load()
        self.clean = CleanStretches(self.genomes, self.splits, config.max_n)
        self.windows = [
            self._sampler("train", stage.length, seed + (stage.number << 32))
            for stage in self.schedule.stages
        ]
        self.fixed = {
            split: self._sampler(split, self.longest, config.evaluation_seed, balanced=True)
            for split in SPLITS[1:]
        }

    @property
    def longest(self) -> int:
        """Bases of a window in the last stage, and in the fixed sets."""
        return self.schedule.stages[-1].length

    @property
    def labels(self) -> tuple[str, ...]:
        """The species, in the order of the configuration."""
        return self.splits.species

    @property
    def label(self) -> str:
        """The species."""
        return ", ".join(self.labels)

    @property
    def summary(self) -> str:
        """How many loci each split has."""
        loci = ", ".join(f"{split} {len(of):,}" for split, of in self.splits.loci.items())
        return f"windows of {self.longest:,} bases; loci that all {len(self.labels)} species have: {loci}"

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out and why, what is long enough, the stages."""
        lines = list(self.splits.notes)
        for split in SPLITS:
            loci = self.clean.loci(split, self.longest)
            by_species = zip(*(locus.stretches for locus in loci), strict=True)
            bases = [sum(part.length for of in stretches for part in of) for stretches in by_species]
            lines.append(
                f"{split}: {len(loci):,} loci are long enough, {min(bases):,} to {max(bases):,} bases per "
                "species"
            )
        return tuple(lines)

    @property
    def identity(self) -> dict[str, Any]:
        """The loci and how they are split."""
        digest = hashlib.sha256(str(self.labels).encode())
        records = bases = 0
        for split, loci in self.splits.loci.items():
            for locus in loci:
                digest.update(f"{split}\t{locus.name}\t{locus.weight}\t{locus.stretches}\n".encode())
                records += sum(map(len, locus.stretches))
                bases += sum(part.length for of in locus.stretches for part in of)
        return {"records": records, "bases": bases, "split": digest.hexdigest()[:16]}

    @property
    def common_length(self) -> int | None:
        """That of a window, where all stages have the same."""
        return self.longest if len(self.schedule.stages) == 1 else None

    def decoder(self, mode: str) -> DecoderConfig:
        """Return the head's configuration: a classification of species."""
        return DecoderConfig("classification", self.labels, mode)

    def describe(self, step: int, index: Int64s) -> list[str]:
        """Return the regions of a step's training samples, by their numbers."""
        sampler = self.windows[self.schedule.stage_at(step).number]
        return sampler.regions(sampler.draw(index)[1])

    def names(self, split: str, index: Int64s) -> list[str]:
        """Return the regions of a fixed set's windows."""
        return self.fixed[split].regions(self.fixed[split].draw(index)[1])

    def micro_batch(self, batch: Batch) -> int:
        """Return how many windows a device takes at a time: the same bases at every length."""
        config = self.config
        return rows_at_a_time(config.batch_size, config.max_length, batch["tokens"].shape[1], self.chunk)

    def train_dataloader(self) -> DataLoader:
        """Return the stream of training batches, a step each, from the step that the trainer has come to."""
        rank, world_size, step = self.place()
        stream = SpeciesStream(self.schedule, self.windows, rank=rank, world_size=world_size, start_step=step)
        return self.loader(stream, self.config.num_workers)

    def val_dataloader(self) -> DataLoader:
        """Return the windows to watch a run by: all that validate."""
        return self._held_out("valid")

    def held_out_loaders(self) -> Iterator[tuple[str, DataLoader]]:
        """Yield the fixed windows of each split that is held out."""
        for split in self.fixed:
            yield split, self._held_out(split)

    def training_batches(self, most: int, bases: int) -> Iterator[Batch]:
        """Yield training windows of the last stage, the first that a run at that length alone would read."""
        number = max(1, min(most, bases // self.longest))
        windows = SpeciesSet(
            self.windows[-1], np.arange(number, dtype=np.int64), batch_size=self.config.batch_size
        )
        return iter(self.loader(windows, self.config.num_workers))

    def _held_out(self, split: str) -> DataLoader:
        rank, world_size, _ = self.place()
        number = self.config.valid_windows if split == "valid" else self.config.test_windows
        windows = SpeciesSet(
            self.fixed[split],
            np.arange(number, dtype=np.int64),
            batch_size=self.config.batch_size,
            rank=rank,
            world_size=world_size,
        )
        return self.loader(windows, self.config.num_workers)

    def _sampler(self, split: str, length: int, seed: int, *, balanced: bool = False) -> SpeciesWindows:
        return SpeciesWindows(
            self.genomes,
            self.clean.loci(split, length),
            length,
            seed,
            reverse_complement=self.config.reverse_complement and not balanced,
            balanced=balanced,
            max_n=self.config.max_n,
        )


SpeciesConfig.module = SpeciesData
