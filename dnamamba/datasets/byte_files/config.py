"""The settings of text and sound."""

from dataclasses import dataclass
from typing import ClassVar

from dnamamba.data.length_schedule import LengthSchedule
from dnamamba.datasets.settings import DataConfig, check_at_least, endless_stage, refuse_unused
from dnamamba.errors import UserError

ALPHABETS = ("octets", "mulaw")


@dataclass(frozen=True)
class BytesConfig(DataConfig):
    """The `data` group of bytes; conf/data/bytes.yaml explains each key.

    Raises:
        UserError: a value is out of range; the message names it.
    """

    # The bytes and their splits are in the identity of the data.
    free: ClassVar[tuple[str, ...]] = (
        "path",
        "valid",
        "test",
        "valid_fraction",
        "test_fraction",
        "valid_windows",
        "num_workers",
    )

    paths: ClassVar[tuple[str, ...]] = ("path",)

    path: str
    alphabet: str = "octets"
    sample_rate: int = 16000
    max_length: int = 1024
    batch_size: int = 16
    valid: list[str] | None = None
    test: list[str] | None = None
    valid_fraction: float = 0.05
    test_fraction: float = 0.05
    valid_windows: int = 64
    num_workers: int = 0

    def __post_init__(self) -> None:
        if self.alphabet not in ALPHABETS:
            raise UserError(
                f"data.alphabet: expected octets (text) or mulaw (sound) (got {self.alphabet}); set one"
            )
        check_at_least(self, sample_rate=1, max_length=1, batch_size=1, valid_windows=1, num_workers=0)
        for key in ("valid_fraction", "test_fraction"):
            if not 0 < getattr(self, key) < 0.5:
                raise UserError(f"data.{key}: must lie between 0 and 0.5 (got {getattr(self, key)})")
        if self.alphabet != "mulaw":
            refuse_unused(self, ("sample_rate",), f"with data.alphabet={self.alphabet}")
        if self.valid is not None or self.test is not None:
            refuse_unused(
                self, ("valid_fraction", "test_fraction"), "where data.valid or data.test names files"
            )

    @property
    def bases_at_a_time(self) -> int:
        """`batch_size` windows."""
        return self.batch_size * self.max_length

    def planned(
        self, *, global_batch_size: int, max_steps: int | None, world_size: int, training_segments: int = 0
    ) -> LengthSchedule:
        """Return one stage. See `DataConfig.planned`."""
        return endless_stage(
            self.max_length, global_batch_size, max_steps, world_size, "windows are drawn without end"
        )
