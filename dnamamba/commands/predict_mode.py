"""What `dnamamba finetune mode=predict` does: `dnamamba predict`, by the keys of a fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf

from dnamamba.commands.predict import SOURCES, PredictConfig, predict_to_file
from dnamamba.commands.unused import FINETUNING, OF_FINETUNING, check_groups
from dnamamba.config import typed
from dnamamba.data.regions import RegionsConfig
from dnamamba.errors import UserError
from dnamamba.files import locked

# Bases of one forward pass; longer records are read by pieces of it with the state carried.
PIECE = 1 << 16
RUN = ("checkpoints", "metrics.csv", "metrics.json")  # of a run's folder: a closed fit leaves no checkpoint
COLUMNS = ("id", "sequence", "label")


@dataclass(frozen=True)
class PredictData:
    """What is read of the `data` group: the rest says what a model is trained on."""

    batch_size: int
    fasta: str | None = None
    labels: str | None = None
    bed: str | None = None
    regions: RegionsConfig = field(default_factory=RegionsConfig)
    table: str | None = None
    columns: dict[str, str | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise UserError(f"data.batch_size: must be at least 1 (got {self.batch_size})")


READ = tuple(PredictData.__dataclass_fields__)


def predict(cfg: DictConfig, folder: Path, piece: int = PIECE) -> Path:
    """Ask the fine-tuned model `model` about every sequence of the `data` group.

    Args:
        cfg: the composed configuration, conf/finetune.yaml.
        folder: takes predictions.tsv: name and place, the answer, each label's probability and logit.
        piece: bases read at once, of a recurrent family.

    Returns:
        The path of predictions.tsv.

    Raises:
        UserError: the folder holds a run or is being written, no fine-tuned model, nothing to read, letters
            that are not bases, a record that is too long for the family, or an answer that is not finite;
            nothing was written.
    """
    check_groups(cfg, FINETUNING, OF_FINETUNING)
    keys = [key for key in READ if key in cfg.data]
    data = typed(OmegaConf.masked_copy(cfg.data, keys), PredictData, "data")
    given = tuple(key for key in ("bed", "fasta", "table") if getattr(data, key) is not None)
    if given not in SOURCES:
        where = "" if "table" in cfg.data else ", and data=labelled, the data group that has it"
        also = "model=PATH, the folder of a fine-tuning run, and " if cfg.model is None else ""
        raise UserError(
            f"mode=predict needs {also}data.fasta=FILE, the sequences to label{where}; data.bed may go with "
            "it; or data.table=FILE"
        )
    if cfg.model is None:
        raise UserError("mode=predict needs model=PATH, the folder of a fine-tuning run")
    if cfg.trainer.accelerator in ("cuda", "gpu") and not torch.cuda.is_available():
        raise UserError(
            "trainer.accelerator: there is no CUDA GPU here that torch can use; choose trainer=cpu"
        )
    config = PredictConfig(
        model=str(cfg.model),
        out=str(folder / "predictions.tsv"),
        fasta=data.fasta,
        bed=data.bed,
        regions=data.regions,
        table=data.table,
        columns={key: data.columns.get(key) for key in COLUMNS},
        labels=data.labels,
        batch_size=data.batch_size,
        device="cuda" if cfg.trainer.accelerator in ("cuda", "gpu") else "cpu",
        precision="bf16" if str(cfg.trainer.precision).startswith("bf16") else "fp32",
        overwrite=True,
    )
    with locked(folder):
        if any((folder / name).exists() for name in RUN):
            raise UserError(
                f"{folder} holds a run, whose predictions this would replace: choose another hydra.run.dir"
            )
        return predict_to_file(config, piece)
