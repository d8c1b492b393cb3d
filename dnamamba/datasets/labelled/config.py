"""The settings of a user's own labelled sequences."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from dnamamba.data.annotation import is_annotation
from dnamamba.data.coding import coding_windows
from dnamamba.data.examples import (
    Collector,
    from_classes,
    from_folder,
    from_label_table,
    from_regions,
    from_table,
    labels_of_regions,
)
from dnamamba.data.length_schedule import LengthSchedule, sequence_schedule
from dnamamba.data.regions import RegionsConfig
from dnamamba.data.target_cells import READ_AS, check_kinds
from dnamamba.datasets.settings import DataConfig
from dnamamba.errors import UserError

YEAST_WINDOW = 256
CROPS = ("random", "start", "middle", "end")
COLUMNS = ("id", "sequence", "label", "split", "group")
# What each way of giving data needs, and what goes with it.
SOURCES = (
    *(("folder",), ("classes",), ("fasta", "labels"), ("fasta", "bed"), ("fasta", "labels", "bed")),
    ("table",),
)


@dataclass(frozen=True)
class LabelledConfig(DataConfig):
    """The `data` group of a fine-tuning; conf/data/labelled.yaml explains each key.

    Raises:
        UserError: a value is out of range, or the keys that say where the data is do not go together.
    """

    free: ClassVar[tuple[str, ...]] = ("num_workers", "valid_examples")
    paths: ClassVar[tuple[str, ...]] = ("folder", "classes", "fasta", "labels", "bed", "table")

    folder: str | None = None
    classes: dict[str, Any] | None = None
    fasta: str | None = None
    labels: str | None = None
    bed: str | None = None
    regions: RegionsConfig = field(default_factory=RegionsConfig)
    table: str | None = None
    columns: dict[str, str | None] = field(default_factory=lambda: dict.fromkeys(COLUMNS))
    task: str = "classification"
    targets: dict[str, str] | None = None
    label_names: list[str] | None = None
    alphabet: str | None = None
    max_length: int | None = None
    crop: str = "random"
    batch_size: int = 32
    padding: str = "right"
    reverse_complement: bool | None = None
    valid: list[str] | None = None
    test: list[str] | None = None
    valid_fraction: float = 0.1
    test_fraction: float = 0.1
    stratify: bool = False
    duplicates: str = "report"
    valid_examples: int = 1000
    num_workers: int = 0

    def __post_init__(self) -> None:
        for key, least in (("max_length", 1), ("batch_size", 1), ("valid_examples", 1), ("num_workers", 0)):
            value = getattr(self, key)
            if value is not None and value < least:
                raise UserError(f"data.{key}: must be at least {least} (got {value})")
        for key, choices in (
            ("crop", CROPS),
            ("padding", ("right", "left")),
            ("duplicates", ("report", "error")),
        ):
            if getattr(self, key) not in choices:
                raise UserError(
                    f"data.{key}: must be one of {', '.join(choices)} (got {getattr(self, key)!r})"
                )
        for key in ("valid_fraction", "test_fraction"):
            if not 0 < getattr(self, key) < 0.5:
                raise UserError(f"data.{key}: must lie between 0 and 0.5 (got {getattr(self, key)})")
        if self.source not in (*SOURCES, ()):
            ways = "; or ".join(" and ".join(f"data.{key}" for key in keys) for keys in SOURCES)
            given = ", ".join(f"data.{key}" for key in self.source)
            what = "do not go together" if len(self.source) > 1 else "is not enough by itself"
            raise UserError(f"{given} {what}: give {ways}")
        if self.targets is not None:
            self._check_targets()
        for key, column in self.columns.items():
            if column is not None and column.startswith("["):
                raise UserError(
                    f"data.columns.{key}: expected the name of one column (got {column}); for several set "
                    "data.targets, or join labels by ; in one column, with data.task=multilabel"
                )
        if self.bed is not None and is_annotation(self.bed):
            self._check_rows(self.bed)
        if self.bed is None and self.regions != RegionsConfig():
            raise UserError("data.regions: says how data.bed is read, which is not given; give it")

    def _check_rows(self, bed: str) -> None:
        """Refuse a GFF3 or GTF file of which neither the rows nor the label are said, naming both keys."""
        if self.regions.feature is None and self.regions.label is None and self.labels is None:
            raise UserError(
                f"data.regions.feature, data.regions.label: {bed} has rows of many kinds, with attributes; "
                "give the kind to read, such as gene, and the attribute that is the label (or data.labels, a "
                "table of id and label)"
            )

    def _check_targets(self) -> None:
        """Refuse targets that are not columns of a table."""
        assert self.targets is not None
        if not self.targets or (self.table is None and self.labels is None):
            raise UserError(
                "data.targets: names columns of data.table or data.labels and the kind of each, such as "
                f"{{expression: regression}} (got {self.targets})"
            )
        if self.task != "classification" or self.label_names is not None or self.stratify:
            raise UserError(
                "data.targets: has the kind of each target; leave out data.task, data.label_names and "
                "data.stratify"
            )
        if self.bed is not None:
            raise UserError("data.targets: regions of data.bed have one label each; leave one of the two out")
        check_kinds(self.targets)

    @property
    def source(self) -> tuple[str, ...]:
        """Which of the keys that say where the data is are given; none of them is the package's own."""
        return tuple(key for key in self.paths if getattr(self, key) is not None)

    def collect(self, into: Collector) -> str:
        """Read the sequences; returns what to call them."""
        columns = {ours: theirs for ours, theirs in self.columns.items() if theirs is not None}
        match self.source:
            case ("folder",):
                assert self.folder is not None
                from_folder(self.folder, into)
                return Path(self.folder).name
            case ("classes",):
                assert self.classes
                from_classes({name: _paths(name, value) for name, value in self.classes.items()}, into)
                return ", ".join(map(str, self.classes))
            case ("fasta", "labels"):
                assert self.fasta is not None
                assert self.labels is not None
                from_label_table(self.fasta, self.labels, columns, into, self.targets, self._texts)
                return Path(self.fasta).name
            case ("fasta", "bed"):
                assert self.fasta is not None
                assert self.bed is not None
                into.notes += from_regions(self.fasta, self.bed, self.regions, into)
                return Path(self.bed).name
            case ("fasta", "labels", "bed"):
                assert self.fasta is not None
                assert self.bed is not None
                assert self.labels is not None
                labels = labels_of_regions(self.labels, columns, into, self._texts)
                into.notes += from_regions(self.fasta, self.bed, self.regions, into, labels)
                return Path(self.bed).name
            case ("table",):
                assert self.table is not None
                from_table(self.table, columns, into, self.targets, self._texts)
                return Path(self.table).name
            case _:
                coding_windows(YEAST_WINDOW, into)
                return "yeast, coding or intergenic"

    @property
    def _texts(self) -> tuple[str, ...]:
        """Columns of labels that are names, and stay as written."""
        from dnamamba.heads.registry import head_class  # loads torch

        if self.targets is None:
            return () if head_class(self.task, "data.task").reads == "number" else ("label",)
        return tuple(name for name, kind in self.targets.items() if READ_AS[kind] != "number")

    @property
    def bases_at_a_time(self) -> int:
        """`batch_size` sequences of `max_length`."""
        return self.batch_size * self._longest()

    def planned(
        self, *, global_batch_size: int, max_steps: int | None, world_size: int, training_segments: int
    ) -> LengthSchedule:
        """Return one stage, of sequences of `max_length`. See `DataConfig.planned`."""
        return one_stage(self._longest(), global_batch_size, max_steps)

    def _longest(self) -> int:
        if self.max_length is None and not self.source:
            return YEAST_WINDOW
        if self.max_length is None:
            raise UserError(
                "data.max_length: a plan needs the length of the longest sequence (got null); set it"
            )
        return self.max_length


def one_stage(length: int, sequences: int, max_steps: int | None) -> LengthSchedule:
    """Return the schedule of a run at one length.

    Args:
        length: bases of a sequence.
        sequences: per step.
        max_steps: of the run.

    Raises:
        UserError: `max_steps` is null: examples are drawn again and again, so nothing else ends the run.
    """
    if max_steps is None:
        raise UserError("train.max_steps: labelled sequences have no other end (got null); set a number")
    return sequence_schedule([length], sequences=sequences, steps=max_steps, max_steps=max_steps)


def _paths(name: str, value: Any) -> list[str]:
    paths = [value] if isinstance(value, str) else value
    if not isinstance(paths, list) or not paths or not all(isinstance(path, str) for path in paths):
        raise UserError(f"data.classes.{name}: must be a FASTA file or a list of them (got {value!r})")
    return paths
