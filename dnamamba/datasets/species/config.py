"""Settings of the task to name a window's species."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from dnamamba.data.alphabet import Alphabet
from dnamamba.data.length_schedule import LengthSchedule, micro_batches
from dnamamba.data.species import SpeciesGenomes, SpeciesSplits
from dnamamba.data.species_splits import split_by_chromosome, split_by_file, split_by_record
from dnamamba.datasets.settings import DataConfig, check_at_least, refuse_unused
from dnamamba.datasets.warmup import SequenceWarmup
from dnamamba.errors import UserError

WAYS_TO_SPLIT = ("chromosome", "record", "file")


@dataclass(frozen=True)
class SpeciesConfig(DataConfig):
    """The `data` group of a configuration; conf/data/species.yaml explains each key.

    Raises:
        UserError: a number is out of range, or two settings exclude each other; the message names them.
    """

    paths: ClassVar[tuple[str, ...]] = ("species", "valid_species", "test_species", "homology")

    species: dict[str, Any] = field(default_factory=dict)
    valid_species: dict[str, Any] = field(default_factory=dict)
    test_species: dict[str, Any] = field(default_factory=dict)
    split: str = "chromosome"
    homology: dict[str, str] = field(default_factory=dict)
    record_id: str = r"^[^|]*\|(.+)$"
    valid: list[str] | None = field(default_factory=lambda: ["1", "3", "12", "13"])
    test: list[str] | None = field(default_factory=lambda: ["5", "7", "9", "10", "11"])
    valid_fraction: float = 0.1
    test_fraction: float = 0.2
    draw: str = "locus"
    max_n: float = 0.0
    remove_n: bool = False
    alphabet: str | None = None
    max_length: int = 1024
    length_warmup: SequenceWarmup = field(default_factory=SequenceWarmup)
    batch_size: int = 64
    reverse_complement: bool = False
    valid_windows: int = 500
    test_windows: int = 2000
    evaluation_seed: int = 0
    num_workers: int = 0

    def __post_init__(self) -> None:
        check_at_least(self, max_length=1, batch_size=1, valid_windows=1, test_windows=1, num_workers=0)
        for key, choices in (("split", WAYS_TO_SPLIT), ("draw", ("locus", "base"))):
            if getattr(self, key) not in choices:
                raise UserError(f"data.{key}: must be {' or '.join(choices)} (got {getattr(self, key)!r})")
        for key in ("max_n", "valid_fraction", "test_fraction"):
            if not 0 <= getattr(self, key) < 1:
                raise UserError(f"data.{key}: must be at least 0 and below 1 (got {getattr(self, key)})")
        if self.valid_fraction + self.test_fraction >= 1:
            raise UserError("data.valid_fraction and data.test_fraction leave nothing to train on")
        hashed = self.split == "record" and self.valid is None and self.test is None
        cut = hashed or (self.split == "file" and not self.valid_species)
        unused = [key for key, used in (("valid_fraction", cut), ("test_fraction", hashed)) if not used]
        refuse_unused(self, unused, f"with data.split={self.split} as the data are held out here")
        self.length_warmup.check()
        files = self.files("species")
        if len(files) < 2:
            raise UserError(
                f"data.species has FASTA files of {len(files)} species ({', '.join(files) or 'none'}); "
                "a classification needs at least two: data.species.NAME=FILE"
            )
        for key in ("valid_species", "test_species", "homology"):
            for name in getattr(self, key):
                if name not in files and getattr(self, key)[name] is not None:
                    raise UserError(f"data.{key}.{name}: data.species has no {name}")
        if self.split != "file" and (self.files("valid_species") or self.files("test_species")):
            raise UserError(
                f"data.valid_species and data.test_species are for data.split=file, not {self.split}"
            )

    @property
    def labels(self) -> tuple[str, ...]:
        """The species, in the order of the configuration."""
        return tuple(self.files("species"))

    def files(self, key: str) -> dict[str, list[Path]]:
        """Return FASTA files by species, of `species`, `valid_species` or `test_species`, without null ones.

        Raises:
            UserError: something else than a path or a list of paths.
        """
        found = {}
        for name, value in getattr(self, key).items():
            paths = [value] if isinstance(value, str) else value
            if paths is None:
                continue
            if not isinstance(paths, list) or not paths or not all(isinstance(path, str) for path in paths):
                raise UserError(f"data.{key}.{name}: must be a FASTA file or a list of them (got {value!r})")
            found[str(name)] = [Path(os.path.expanduser(path)) for path in paths]
        return found

    def schedule(self, *, global_batch_size: int, max_steps: int | None, world_size: int) -> LengthSchedule:
        """Return the stages of a run, each of `global_batch_size` sequences per step.

        Args:
            global_batch_size, max_steps, world_size: as in `build`.

        Raises:
            UserError: numbers that do not divide.
        """
        if max_steps is None:
            raise UserError("train.max_steps: windows of species have no other end (got null); set a number")
        schedule = self.length_warmup.stages(
            self.max_length, sequences=global_batch_size, max_steps=max_steps
        )
        for stage in schedule.stages:
            try:
                micro_batches(
                    stage.sequences, stage.length, world_size=world_size, bases_at_a_time=self.bases_at_a_time
                )
            except UserError as error:
                raise UserError(f"train.global_batch_size, data.batch_size: {error}") from error
        return schedule

    def planned(
        self, *, global_batch_size: int, max_steps: int | None, world_size: int, training_segments: int
    ) -> LengthSchedule:
        """Return the stages of a run; no file is read. See `DataConfig.planned`."""
        return self.schedule(global_batch_size=global_batch_size, max_steps=max_steps, world_size=world_size)

    @property
    def bases_at_a_time(self) -> int:
        """Bases of a micro-batch of one device, the same at every length."""
        return self.batch_size * self.max_length

    def genomes_and_splits(self, alphabet: Alphabet) -> tuple[SpeciesGenomes, SpeciesSplits]:
        """Open the FASTA files and assign their loci.

        Raises:
            UserError: a file, a record or a chromosome can't be used.
        """
        held_out = {split: self.files(f"{split}_species") for split in ("valid", "test")}
        every = {
            name: [*paths, *held_out["valid"].get(name, []), *held_out["test"].get(name, [])]
            for name, paths in self.files("species").items()
        }
        genomes = SpeciesGenomes(every, alphabet, remove_n=self.remove_n)
        by_bases = self.draw == "base"
        if self.split == "file":
            return genomes, split_by_file(genomes, held_out, valid_share=self.valid_fraction)
        if self.split == "record":
            splits = split_by_record(
                genomes,
                pattern=self.record_id,
                valid=self.valid,
                test=self.test,
                shares=(self.valid_fraction, self.test_fraction),
                by_bases=by_bases,
            )
            return genomes, splits
        tables: Mapping[str, Path] = {
            name: Path(os.path.expanduser(path)) for name, path in self.homology.items() if path is not None
        }
        if self.valid is None or self.test is None:
            raise UserError(
                "data.split=chromosome needs data.valid and data.test, lists of human chromosomes"
            )
        splits = split_by_chromosome(
            genomes, tables=tables, valid=self.valid, test=self.test, by_bases=by_bases
        )
        return genomes, splits
