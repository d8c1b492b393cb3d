"""The 18 tasks of the Nucleotide Transformer: histone marks, enhancers, promoters, splice sites."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dnamamba.data.tables import read_table
from dnamamba.errors import UserError
from dnamamba.suite.base import Published, Suite
from dnamamba.suite.rows import Labelled, RowsConfig

ADDRESS = "the data set InstaDeepAI/nucleotide_transformer_downstream_tasks of the Hugging Face Hub"
_CITED = "JanusDNA_mlp with attention, 2.0M parameters, ten folds; the project's README of 2025-08-01"
# MCC; the project scores the other tasks by F1 or accuracy, so that they compare with no number here.
MCC = {
    "H3": 0.835,
    "H3K14ac": 0.729,
    "H3K36me3": 0.702,
    "H3K4me1": 0.615,
    "H3K4me2": 0.589,
    "H3K4me3": 0.688,
    "H3K79me3": 0.747,
    "H3K9ac": 0.673,
    "H4": 0.812,
    "H4ac": 0.698,
    "enhancers": 0.559,
    "enhancers_types": 0.503,
}
OTHERS = (
    *("promoter_all", "promoter_no_tata", "promoter_tata"),
    *("splice_sites_acceptors", "splice_sites_all", "splice_sites_donors"),
)


@dataclass(frozen=True)
class TaskFilesConfig(RowsConfig):
    """`FOLDER/{train,test}.fna` with headers `name|label`, or `.parquet` with `name`, `sequence`, `label`."""

    def rows(self) -> Iterator[Labelled]:
        """Yield every record of the two files."""
        assert self.folder is not None
        folder = Path(self.folder).expanduser()
        for split in ("train", "test"):
            fasta, parquet = (folder / f"{split}{suffix}" for suffix in (".fna", ".parquet"))
            if fasta.is_file():
                yield from _of_fasta(fasta, split)
            elif parquet.is_file():
                table = read_table(parquet, ("sequence", "label"), ("name",))
                names = table.columns.get("name", [f"{split}_{row}" for row in table.rows])
                columns = names, table.columns["sequence"], table.columns["label"], table.rows
                for name, letters, label, row in zip(*columns, strict=True):
                    yield Labelled(f"{split}/{name}", letters, label, split, f"{parquet}, row {row}")
            else:
                raise UserError(
                    f"{fasta}: there is no such file, nor {parquet.name}; fetch it from {ADDRESS}"
                )

    @property
    def label(self) -> str:
        """The name of the folder."""
        return Path(str(self.folder)).name


def _of_fasta(path: Path, split: str) -> Iterator[Labelled]:
    try:
        with path.open(encoding="ascii") as file:
            _, *records = file.read().split(">")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: can't be read as FASTA ({error}); fetch it from {ADDRESS}") from None
    for number, record in enumerate(records, start=1):
        header, _, letters = record.partition("\n")
        name, bar, label = header.strip().rpartition("|")
        where = f"{path}, record {number}"
        if not bar or not label:
            raise UserError(f"{where}: expected a header name|label (got {header[:40]!r}); mend it")
        yield Labelled(f"{split}/{name}", "".join(letters.split()), label, split, where)


class NtTasks(Suite):
    """One of the 18 tasks; the authors' own split, of which 10 % of the training sequences validate."""

    name = "nt_tasks"
    metric = "mcc"
    protocols = ("probe", "finetune")
    tasks = (*MCC, *OTHERS)
    split = "the authors' train and test; a tenth of train, by a hash, validates"
    part = True
    published = tuple(
        Published("JanusDNA_mlp", "finetune", value, _CITED, task=task) for task, value in MCC.items()
    )

    def data(self) -> TaskFilesConfig:
        """Return the task's folder below `files`."""
        return TaskFilesConfig(folder=str(Path(self.files, str(self.task))), most=self.examples)
