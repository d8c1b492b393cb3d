"""Genomic Benchmarks: nine sets of short sequences, in the layout that their package downloads."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dnamamba.errors import UserError
from dnamamba.suite.base import Published, Suite
from dnamamba.suite.rows import Labelled, RowsConfig

ADDRESS = "github.com/ML-Bioinfo-CEITEC/genomic_benchmarks (its download_dataset writes this layout)"
_CITED = "Gresova et al. 2023, BMC Genomic Data 24:25; the project's experiments/README.md of 2025-07-30"
# Accuracy on the test split in percent: HyenaDNA, and the authors' convolutional network in PyTorch.
ACCURACY = {
    "demo_coding_vs_intergenomic_seqs": (91.3, 87.6),
    "demo_human_or_worm": (96.6, 93.0),
    "drosophila_enhancers_stark": (None, 58.6),
    "dummy_mouse_enhancers_ensembl": (85.1, 69.0),
    "human_enhancers_cohn": (74.2, 69.5),
    "human_enhancers_ensembl": (89.2, 68.9),
    "human_ensembl_regulatory": (93.8, 93.3),
    "human_nontata_promoters": (96.6, 84.6),
    "human_ocr_ensembl": (80.9, 68.0),
}


@dataclass(frozen=True)
class FolderConfig(RowsConfig):
    """`FOLDER/{train,test}/CLASS/NUMBER.txt`: a file is a sequence, without a header."""

    def rows(self) -> Iterator[Labelled]:
        """Yield every file, by split, class and name."""
        assert self.folder is not None
        folder = Path(self.folder).expanduser()
        for split in ("train", "test"):
            if not (folder / split).is_dir():
                raise UserError(f"{folder / split}: there is no such folder; fetch the set from {ADDRESS}")
            for path in sorted((folder / split).glob("*/*.txt")):
                name = f"{split}/{path.parent.name}/{path.stem}"
                try:
                    letters = path.read_text(encoding="ascii").strip()
                except (OSError, UnicodeDecodeError):
                    raise UserError(f"{path}: expected one line of bases; fetch the set anew") from None
                yield Labelled(name, letters, path.parent.name, split, str(path))

    @property
    def label(self) -> str:
        """The name of the folder."""
        return Path(str(self.folder)).name


class GenomicBenchmarks(Suite):
    """One of nine sets; the authors' own split, of which 10 % of the training sequences validate."""

    name = "genomic_benchmarks"
    metric = "accuracy"
    protocols = ("probe", "finetune")
    tasks = tuple(ACCURACY)
    split = "the authors' train and test; a tenth of train, by a hash, validates"
    part = True
    published = tuple(
        Published(model, "finetune", value / 100, _CITED, task=task)
        for task, values in ACCURACY.items()
        for model, value in zip(("HyenaDNA", "CNN (PyTorch)"), values, strict=True)
        if value is not None
    )

    def data(self) -> FolderConfig:
        """Return the set's folder below `files`."""
        return FolderConfig(folder=str(Path(self.files, str(self.task))), most=self.examples)
