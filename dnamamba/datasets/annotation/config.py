"""The settings of a data set of annotated features."""

from dataclasses import dataclass
from typing import ClassVar

from dnamamba.data.gene_parts import BY_FRAME, INTRON
from dnamamba.datasets.position_settings import PositionsConfig
from dnamamba.errors import UserError

YEAST_CLASSES = (BY_FRAME, INTRON)


@dataclass(frozen=True)
class AnnotationConfig(PositionsConfig):
    """The `data` group of a fine-tuning per base; conf/data/annotation.yaml explains each key.

    Raises:
        UserError: a value is out of range, or keys do not go together.
    """

    paths: ClassVar[tuple[str, ...]] = ("fasta", "annotation")

    fasta: str | None = None
    annotation: str | None = None
    classes: list[str] | None = None
    column: int | None = None
    strand: str = "separate"
    unstranded: str = "error"
    unknown: str = "error"
    chain: bool = True
    alphabet: str | None = None
    max_length: int = 4096
    batch_size: int = 8
    reverse_complement: bool = True
    valid: list[str] | None = None
    test: list[str] | None = None
    valid_windows: int = 64
    num_workers: int = 0

    def __post_init__(self) -> None:
        self.check()
        for key, choices in (
            ("strand", ("separate", "merged")),
            ("unstranded", ("error", "skip")),
            ("unknown", ("error", "skip")),
        ):
            if getattr(self, key) not in choices:
                raise UserError(f"data.{key}: must be {' or '.join(choices)} (got {getattr(self, key)!r})")
        if (self.fasta is None) != (self.annotation is None):
            missing = "fasta" if self.fasta is None else "annotation"
            raise UserError(f"data.{missing}: a FASTA and an annotation go together; give it")
        if self.column is not None and self.column < 4:
            raise UserError(f"data.column: the number of a BED's column, from 4 on (got {self.column})")

    @property
    def bin(self) -> int:
        """Every base has an answer."""
        return 1
