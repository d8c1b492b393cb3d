"""What a fine-tuned model makes of new sequences, however long."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from dnamamba.checkpoint import load
from dnamamba.commands.finetune import GROUPS, OTHERS
from dnamamba.commands.settings import check_groups
from dnamamba.config import typed
from dnamamba.data.alphabet import Ids, get_alphabet
from dnamamba.data.fasta import NUCLEOTIDE, Genome
from dnamamba.data.labelled import padded
from dnamamba.errors import UserError
from dnamamba.files import replacing
from dnamamba.inference.device import need_finite
from dnamamba.inference.streaming import Reader
from dnamamba.models import SequenceModel

# Bases of one forward pass; longer records are read by pieces of it with the state carried.
PIECE = 1 << 16


@dataclass(frozen=True)
class PredictData:
    """What is read of the `data` group: the rest says what a model is trained on."""

    batch_size: int
    fasta: str | None = None

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise UserError(f"data.batch_size must be at least 1, not {self.batch_size}")


def predict(cfg: DictConfig, folder: Path, piece: int = PIECE) -> Path:
    """Label every record of `data.fasta` with the fine-tuned model `model`.

    Args:
        cfg: the composed configuration, conf/finetune.yaml.
        folder: takes predictions.tsv: the record's name, the answer, each label's probability and logit.
        piece: bases read at once, of a recurrent family.

    Returns:
        The path of predictions.tsv.

    Raises:
        UserError: no fine-tuned model, no FASTA file, letters that are no bases, a record longer than what a
            family that is not recurrent can read, or an answer that is not finite; nothing was written.
    """
    check_groups(cfg, GROUPS, OTHERS)
    console = Console(markup=False, emoji=False)
    if cfg.model is None:
        raise UserError("mode=predict needs model=PATH, the folder of a fine-tuning run")
    model = load(str(cfg.model))
    if not isinstance(model, SequenceModel):
        raise UserError(f"{cfg.model} is a pretrained model that answers no question: fine-tune it first")
    data = typed(OmegaConf.masked_copy(cfg.data, ["fasta", "batch_size"]), PredictData, "data")
    if data.fasta is None:
        where = "" if "fasta" in cfg.data else ", and data=labelled, the data group that has it"
        raise UserError(f"mode=predict needs data.fasta=FILE, the sequences to label{where}")
    device = torch.device("cuda" if cfg.trainer.accelerator in ("cuda", "gpu") else "cpu")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "trainer.accelerator: there is no CUDA GPU here that torch can use; choose trainer=cpu"
        )
    half = str(cfg.trainer.precision).startswith("bf16")
    genome = Genome(data.fasta, get_alphabet(model.config.alphabet))
    if genome.alphabet.name == "dna":
        _check_letters(genome)
    # In fp32 a reader leaves the autocast below as it is.
    reader = Reader(model.to(device), precision="fp32", piece=piece)
    for name, length in genome.lengths.items():
        reader.need_length(length, f"{genome.path}, record {name}", "give shorter records")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "predictions.tsv"
    columns = (TextColumn("predicting"), BarColumn(), TimeRemainingColumn(elapsed_when_finished=True))
    with (
        Progress(*columns, console=console, disable=not console.is_terminal) as progress,
        torch.autocast(device.type, torch.bfloat16, enabled=half),
        replacing(path) as beside,
        beside.open("w", newline="") as file,
    ):
        bar = progress.add_task("", total=sum(genome.lengths.values()))
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        head = model.decoder.head
        writer.writerow(["id", *head.columns()])
        for names, logits in _answers(model, genome, data.batch_size, reader):
            for name, row in zip(names, logits.cpu().double(), strict=True):
                need_finite(row.numpy(), f"{genome.path}, record {name}")
                writer.writerow([name, *head.cells(row)])
                progress.advance(bar, genome.lengths[name])
    console.print(f"{len(genome.names):,} sequences: {path}", soft_wrap=True, highlight=False)
    return path


def _answers(
    model: SequenceModel, genome: Genome, batch_size: int, reader: Reader
) -> Iterator[tuple[list[str], torch.Tensor]]:
    """Names of records and their logits [B, C], in the order of the file: short ones together."""
    waiting: dict[str, Ids] = {}
    for name, length in genome.lengths.items():
        ids = np.concatenate(list(genome.pieces(name)))
        if length <= reader.piece:
            waiting[name] = ids
        if waiting and (length > reader.piece or len(waiting) == batch_size):
            yield list(waiting), _together(model, list(waiting.values()), reader)
            waiting = {}
        if length > reader.piece:
            both = model.decoder.strand == "both"
            other = reader.tokens(ids, reverse=True) if both else None
            yield [name], model.read(reader.tokens(ids), other)
    if waiting:
        yield list(waiting), _together(model, list(waiting.values()), reader)


def _together(model: SequenceModel, rows: list[Ids], reader: Reader) -> torch.Tensor:
    tokens, lengths = padded(rows, reader.alphabet.pad_id, "right")
    with torch.no_grad():
        return model(reader.to_device(tokens), torch.from_numpy(lengths).to(reader.device))


def _check_letters(genome: Genome) -> None:
    letters = Genome(genome.path, get_alphabet("bytes"))
    count, first = 0, ""
    for name in letters.names:
        position = 0
        for piece in letters.pieces(name):
            strange = np.flatnonzero(~NUCLEOTIDE[piece])
            if strange.size and not count:
                place = position + int(strange[0]) + 1
                first = f"{chr(piece[strange[0]])!r} at position {place:,} of record {name}"
            count += strange.size
            position += piece.size
    if count:
        raise UserError(f"{genome.path}: {count:,} letter(s) are no nucleotide codes, the first is {first}")
