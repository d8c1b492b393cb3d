"""The contract of a benchmark: its data and their checksums, protocols, a headline metric, published numbers.

A suite is a subclass of `Suite` in a file of about 50 lines, in this folder or in any importable module.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from dnamamba.datasets.base import DataConfig
from dnamamba.errors import UserError, missing
from dnamamba.files import sha256_of
from dnamamba.models import LanguageModel
from dnamamba.training.config import FinetuneTrainConfig, TrainConfig

PROTOCOLS = ("zero_shot", "probe", "finetune")


@dataclass(frozen=True)
class Source:
    """A data file that the user has fetched; nothing is downloaded here.

    Attributes:
        path: where it must lie; a relative path counts from `files=`, the working directory by default.
        sha256: its checksum, 64 hexadecimal digits.
        address: where the user gets it.
        task: of the suite's, which needs it; None: all of them.
    """

    path: str
    sha256: str
    address: str
    task: str | None = None

    def verified(self, files: str | Path = "") -> Path:
        """Return the file, whole and unchanged.

        Args:
            files: the folder that a relative path counts from.

        Raises:
            UserError: it is missing, can't be read, or has another checksum.
        """
        path = Path(files, self.path).expanduser()
        try:
            found = sha256_of(path)
        except FileNotFoundError:
            raise UserError(f"{path}: there is no such file; fetch it from {self.address}") from None
        except OSError as error:
            raise UserError(
                f"{path}: can't be read ({error.strerror}); get it from {self.address}"
            ) from error
        if found != self.sha256.lower():
            raise UserError(
                f"{path}: SHA-256 must be {self.sha256} (got {found}); fetch it anew from {self.address}"
            )
        return path


@dataclass(frozen=True)
class Published:
    """A number from elsewhere, for comparison.

    Attributes:
        model: that was measured.
        protocol: `zero_shot`, `probe` or `finetune`.
        value: of the headline metric, on the test split.
        citation: the paper or the run, with its date.
        low, high: the 95 % interval, where one was given.
        task: of the suite's, where it has several.
    """

    model: str
    protocol: str
    value: float
    citation: str
    low: float | None = None
    high: float | None = None
    task: str | None = None


@dataclass(frozen=True)
class Row:
    """One number of a benchmark's table.

    Attributes:
        protocol: `zero_shot`, `probe`, `finetune` or `baseline`.
        model: what was measured.
        metric: its name.
        value: None where the protocol was refused; `note` says why.
        low, high: the 95 % interval.
        examples: sequences or windows of the test split.
        seconds: wall time, reading included; None where the row took none of its own.
        note: a citation or a reason.
    """

    protocol: str
    model: str
    metric: str
    value: float | None
    low: float | None = None
    high: float | None = None
    examples: int | None = None
    seconds: float | None = None
    note: str = ""


class Suite:
    """A benchmark. A subclass sets the attributes, and defines what its protocols need.

    Attributes:
        name: of the suite.
        metric: the headline metric, on the test split.
        protocols: some of `PROTOCOLS`, in the order in which they run.
        sources: files that must be there; none where the data come with the package, or where a published
            layout has no checksum of its own.
        published: numbers from elsewhere.
        tasks: names of its data sets, where it has several; a run is of one, `task`.
        split: what trains and what tests, in a sentence.
        reads_files: whether it reads the user's files; False of one whose data come with the package.
        part: whether it can read `examples` sequences of each split instead of all.
        task: which of `tasks`.
        files: the folder that holds the user's files.
        examples: the most sequences of a split, or variants, that are read, evenly spaced; None: all.
        needs: what `zero_shot` asks of a backbone (`dnamamba.models.base.CAPABILITIES`).
        train: steps and learning rate of `finetune`, and of a trained probe; the seed is the command's.
        bootstrap: resamples of the test split behind an interval.
        linear: whether linear models of words and of positions are fitted on the split, for comparison.
    """

    name: ClassVar[str]
    metric: ClassVar[str]
    protocols: ClassVar[tuple[str, ...]]
    sources: ClassVar[tuple[Source, ...]] = ()
    published: ClassVar[tuple[Published, ...]] = ()
    tasks: ClassVar[tuple[str, ...]] = ()
    split: ClassVar[str] = ""
    reads_files: ClassVar[bool] = True
    part: ClassVar[bool] = False
    needs: ClassVar[tuple[str, ...]] = ("causal",)
    train: ClassVar[TrainConfig] = FinetuneTrainConfig()
    bootstrap: ClassVar[int] = 1000
    linear: ClassVar[bool] = True

    task: str | None = None
    files: str | Path = ""
    examples: int | None = None

    def verified(self) -> list[Path]:
        """Return the files that this task needs, whole and unchanged.

        Raises:
            UserError: one is missing or has another checksum.
        """
        return [one.verified(self.files) for one in self.sources if one.task in (None, self.task)]

    @property
    def title(self) -> str:
        """Its name, and the task's."""
        return self.name if self.task is None else f"{self.name} {self.task}"

    def data(self) -> DataConfig:
        """Return the data with their splits, for `probe` and `finetune`; `sources` are verified before."""
        raise missing(self, "data")

    def zero_shot(self, model: LanguageModel, seed: int) -> Row:
        """Score the model as it is, in evaluation mode on its device, without gradients."""
        raise missing(self, "zero_shot")

    def baselines(self, seed: int) -> Sequence[Row]:
        """Return the baselines of `zero_shot`; `probe` and `finetune` have a majority class anyway."""
        return ()


def check_choice(suite: Suite) -> None:
    """Check that one of the suite's data sets was chosen.

    Raises:
        UserError: none was, it is unknown, or the suite has but one; a number of examples that can't be;
            files that nothing reads.
    """
    if suite.tasks and suite.task not in suite.tasks:
        raise UserError(f"task: {suite.name} has {', '.join(suite.tasks)} (got {suite.task}); name one")
    if not suite.tasks and suite.task is not None:
        raise UserError(f"task: {suite.name} is one data set (got {suite.task}); leave it out")
    if str(suite.files) not in ("", ".") and not suite.reads_files:
        raise UserError(
            f"files: the data of {suite.name} come with the package (got {suite.files}); leave it out"
        )
    if suite.examples is not None and suite.examples < 1:
        raise UserError(f"examples: must be at least 1 (got {suite.examples}); leave it out to read all")
    if suite.examples is not None and not suite.part:
        raise UserError(f"examples: {suite.name} is read whole (got {suite.examples}); leave it out")


def check_suite(suite: Suite) -> None:
    """Check that a suite says what it must.

    Raises:
        UserError: an attribute is missing, or a protocol is unknown.
    """
    kind = type(suite).__name__
    for key in ("name", "metric", "protocols"):
        if not getattr(suite, key, None):
            raise UserError(f"{kind}.{key}: is not set (got nothing); set it in the class")
    unknown = [protocol for protocol in suite.protocols if protocol not in PROTOCOLS]
    if unknown:
        raise UserError(
            f"{kind}.protocols: no such protocol (got {', '.join(unknown)}); choose of {', '.join(PROTOCOLS)}"
        )
