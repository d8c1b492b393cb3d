"""Compare heads on the hidden states of one frozen model: minutes on a CPU, the states are computed once.

    python studies/frozen_heads.py MODEL TABLE [TABLE ...] --out CSV [--most 4000]

TABLES are those of `studies/aligned_sets.py`, or any with a split whose sequences have one length. Each head
is trained by AdamW for ten epochs at each of `RATES` on the strand that is given; rate and epoch are those of
the least validation loss, and the test is read there. Baselines are those of a fine-tuning.
"""

import argparse
import csv
import math
import time
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor, nn

from dnamamba import LabelledConfig, load
from dnamamba.datasets.base import DataModule
from dnamamba.heads.base import Head
from dnamamba.heads.bootstrap import bootstrap
from dnamamba.models import SequenceModel
from dnamamba.models.pooling import base_table, pool
from dnamamba.models.readout import Readout, pooled_size
from dnamamba.training.baselines import Baselines

READERS = (
    ("mean", "forward", 0),
    ("next", "forward", 0),
    ("mean", "both", 0),
    ("attention", "forward", 0),
    ("attention", "both", 0),
    ("positions", "forward", 0),
    ("positions", "both", 0),
    ("mean", "both", 2),
    ("positions", "both", 2),
    ("attention", "both", 3),
)
COLUMNS = ("table", "head", "weights", "rate", "epoch", "metric", "valid", "test", "low", "high", "mcc")
RATES = (1e-3, 3e-3)
EPOCHS, BATCH = 10, 32
SPLITS = ("train", "valid", "test")


class Read(nn.Module):
    """A pooling and a linear head over stored hidden states."""

    def __init__(self, mode: str, conv: int, width: int, length: int, labels: int) -> None:
        super().__init__()
        self.mode = mode
        learns = conv or mode in ("attention", "positions")
        self.readout = Readout(mode, conv, width, length) if learns else None
        self.head = nn.Linear(self.readout.size if self.readout else pooled_size(mode, width), labels)

    def forward(self, hidden: Tensor, bases: Tensor) -> Tensor:
        """Return logits [B, C]."""
        if self.readout is None:
            return self.head(pool(self.mode, hidden, bases, None))
        return self.head(self.readout(hidden, bases, None))


class States:
    """Hidden states, bases and labels of each split; float16 in memory.

    Args:
        model: a `SequenceModel` of `context=both`, whose backbone is read.
        data: of one length.
        most: sequences of a split.
    """

    def __init__(self, model: SequenceModel, data: DataModule, most: int) -> None:
        self.width = model.config.width
        self.splits = {}
        loaders = dict(data.held_out_loaders()) | {"train": data.training_batches(most, 1 << 62)}
        for split in SPLITS:
            parts = []
            for batch in loaders[split]:
                tokens = batch["tokens"][:, : int(batch["lengths"][0])]
                with torch.no_grad():
                    hidden = model._hidden(tokens, None, model._states).half()
                parts.append((hidden, base_table(data.alphabet.name)[tokens.int()], batch["labels"]))
                if sum(len(part[2]) for part in parts) >= most:
                    break
            self.splits[split] = [torch.cat(columns) for columns in zip(*parts, strict=True)]

    def batch(self, split: str, rows: Tensor, context: str) -> tuple[Tensor, Tensor, Tensor]:
        """Return some rows of a split."""
        hidden, bases, labels = (column[rows] for column in self.splits[split])
        width = self.width * (2 if context == "both" else 1)
        return hidden[..., :width].float(), bases, labels


def fit(states: States, head: Head, mode: str, context: str, conv: int, rate: float) -> dict[str, object]:
    """Return the epoch of the least validation loss: its logits and its number."""
    torch.manual_seed(0)
    hidden, _, labels = states.splits["train"]
    width = states.width * (2 if context == "both" else 1)
    net = Read(mode, conv, width, hidden.shape[1], len(head.labels))
    optimizer = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=0.1, betas=(0.9, 0.95))
    steps, step = EPOCHS * (len(labels) // BATCH), 0
    best: dict[str, object] = {"loss": math.inf}
    for epoch in range(1, EPOCHS + 1):
        for rows in torch.randperm(len(labels))[: len(labels) // BATCH * BATCH].split(BATCH):
            for group in optimizer.param_groups:
                warm = min(1.0, (step + 1) / (0.1 * steps))
                group["lr"] = rate * warm * 0.5 * (1 + math.cos(math.pi * step / steps))
            step += 1
            states_, bases, truth = states.batch("train", rows, context)
            loss = head.loss(net(states_, bases), truth, None, 0.0).mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
        logits = {}
        with torch.no_grad():
            for split in ("valid", "test"):
                parts = torch.arange(len(states.splits[split][2])).split(256)
                logits[split] = torch.cat([net(*states.batch(split, part, context)[:2]) for part in parts])
        loss = head.loss(logits["valid"], states.splits["valid"][2], None, 0.0).mean().item()
        if loss < best["loss"]:  # type: ignore[operator]
            best = {"loss": loss, "epoch": epoch, "rate": rate, "logits": logits}
    best["weights"] = sum(parameter.numel() for parameter in net.parameters())
    return best


def scores(head: Head, logits: dict[str, Tensor], labels: dict[str, Tensor]) -> dict[str, object]:
    """Return the columns of the results that logits have."""
    found = {split: head.metrics(logits[split].double(), labels[split]) for split in logits}
    low, high = bootstrap(head, logits["test"].double(), labels["test"], 500).intervals["accuracy"]
    values = {split: round(metrics["accuracy"], 4) for split, metrics in found.items()}
    mcc = round(found["test"]["mcc"], 3)
    return {"metric": "accuracy", **values, "low": round(low, 4), "high": round(high, 4), "mcc": mcc}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("model")
    parser.add_argument("tables", nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--most", type=int, default=4000, help="sequences of a split")
    options = parser.parse_args()
    backbone = load(options.model)
    with options.out.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n", restval="", extrasaction="ignore")
        writer.writeheader()
        for table in options.tables:
            data = LabelledConfig(table=table, alphabet="dna", batch_size=64).build(
                0, global_batch_size=BATCH, max_steps=1, world_size=1
            )
            decoder = data.decoder("mean")
            for one in Baselines(decoder.head, None, data).fit(Console(quiet=True)).all:
                logits = {split: found.logits for split, found in one.scored.items()}
                labels = {split: found.labels for split, found in one.scored.items()}
                writer.writerow(
                    {"table": Path(table).stem, "head": one.name} | scores(decoder.head, logits, labels)
                )
                file.flush()
            model = SequenceModel(backbone.config, replace(decoder, context="both"))
            model.backbone.load_state_dict(backbone.backbone.state_dict())
            states = States(model.eval(), data, options.most)
            labels = {split: states.splits[split][2] for split in ("valid", "test")}
            for mode, context, conv in READERS:
                began = time.perf_counter()
                fits = [fit(states, decoder.head, mode, context, conv, rate) for rate in RATES]
                best = min(fits, key=lambda one: one["loss"])
                name = (
                    f"{mode}{', both strands' if context == 'both' else ''}{f', conv={conv}' if conv else ''}"
                )
                row = {"table": Path(table).stem, "head": name, **best}
                row |= scores(decoder.head, best["logits"], labels)  # type: ignore[arg-type]
                writer.writerow(row)
                file.flush()
                print(
                    table, name, row["valid"], row["test"], f"{time.perf_counter() - began:.0f} s", flush=True
                )


if __name__ == "__main__":
    main()
