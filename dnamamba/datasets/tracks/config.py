"""The settings of a data set of tracks."""

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

from dnamamba.data.signal import LARGEST_BIN, LOSSES, SCALINGS
from dnamamba.datasets.position_settings import PositionsConfig
from dnamamba.errors import UserError


@dataclass(frozen=True)
class TracksConfig(PositionsConfig):
    """The `data` group of a fine-tuning per bin; conf/data/tracks.yaml explains each key.

    Raises:
        UserError: a value is out of range, or nothing is to be predicted.
    """

    paths: ClassVar[tuple[str, ...]] = ("fasta", "tracks")

    fasta: str | None = None
    tracks: dict[str, Any] | None = None
    pairs: list[list[str]] = field(default_factory=list)
    bin_size: int = 32
    loss: str = "poisson"
    scaling: str = "none"
    count_weight: float = 1.0
    missing: str = "leave_out"
    unknown: str = "error"
    alphabet: str | None = None
    max_length: int = 4096
    batch_size: int = 8
    reverse_complement: bool = True
    valid: list[str] | None = None
    test: list[str] | None = None
    valid_windows: int = 64
    num_workers: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.bin_size <= LARGEST_BIN:
            raise UserError(
                f"data.bin_size: must lie between 1 and {LARGEST_BIN} bases (got {self.bin_size})"
            )
        self.check()
        for key, choices in (
            ("loss", LOSSES),
            ("scaling", SCALINGS),
            ("missing", ("leave_out", "zero")),
            ("unknown", ("error", "skip")),
        ):
            if getattr(self, key) not in choices:
                raise UserError(
                    f"data.{key}: must be one of {', '.join(choices)} (got {getattr(self, key)!r})"
                )
        if not 0 < self.count_weight < math.inf:
            raise UserError(f"data.count_weight: must be positive (got {self.count_weight})")
        if self.fasta is None:
            raise UserError("data.fasta: the genome of the tracks is not given; give it")
        if not self.tracks or not all(isinstance(path, str) for path in self.tracks.values()):
            raise UserError(
                "data.tracks: expected a bigWig or bedGraph file of each track, such as {coverage: c.bw} "
                f"(got {self.tracks})"
            )
        names = [str(name) for pair in self.pairs for name in pair]
        known = set(self.names)
        if (
            any(len(pair) != 2 for pair in self.pairs)
            or len(set(names)) != len(names)
            or not set(names) <= known
        ):
            raise UserError(
                f"data.pairs: expected pairs of tracks, plus and minus strand, each in one (got {self.pairs})"
            )

    @property
    def bin(self) -> int:
        """Bases that have a number together."""
        return self.bin_size

    @property
    def names(self) -> tuple[str, ...]:
        """Of the tracks."""
        return tuple(self.files)

    @property
    def files(self) -> dict[str, str]:
        """Of each track, by name."""
        return {str(name): path for name, path in (self.tracks or {}).items()}
