"""Fine-tune one pretrained model with every head of docs/heads.md on tables of labelled sequences.

    python studies/aligned_heads.py MODEL TABLE [TABLE ...] --out FOLDER [--accelerator gpu] [--jobs 6]

TABLES are those of `studies/aligned_sets.py`, or any with a split; `yeast` stands for the package's own
windows. Leaves a folder for each fine-tuning, and results.csv: what each reached on validation and test,
and the baselines. Runs that are there already are read, not run again.
"""

import argparse
import csv
import json
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from dnamamba import FinetuneTrainConfig, Finetuning, LabelledConfig
from dnamamba.objectives.task_config import TaskConfig
from dnamamba.training.config import TrainerConfig
from dnamamba.training.finetuning import Pooling

READERS = {
    "mean": Pooling("mean"),
    "next": Pooling("next"),
    "mean-both": Pooling("mean", context="both"),
    "attention": Pooling("attention"),
    "attention-both": Pooling("attention", context="both"),
    "positions": Pooling("positions"),
    "positions-both": Pooling("positions", context="both"),
    "conv2-positions-both": Pooling("positions", context="both", conv=2),
    "conv4-attention-both": Pooling("attention", context="both", conv=4),
    "conv4-mean-both": Pooling("mean", context="both", conv=4),
}
COLUMNS = ("table", "reader", "frozen", "strands", "epochs", "rate", "metric", "valid", "test", "low", "high")


@dataclass(frozen=True)
class Trial:
    """One fine-tuning."""

    table: str
    reader: str
    frozen: bool = False
    strands: bool = False
    epochs: int = 10
    rate: float = 1e-3

    @property
    def name(self) -> str:
        """Of its folder."""
        kind = "frozen" if self.frozen else "free"
        strands = "both" if self.strands else "given"
        return f"{Path(self.table).stem}_{self.reader}_{kind}_{strands}_{self.epochs}_{self.rate:g}"


def trials(table: str) -> list[Trial]:
    """Return the settings to run: every reader with free and frozen backbone, three with other rates too."""
    base = Trial(table, "mean")
    made = [replace(base, reader=reader, frozen=frozen) for frozen in (False, True) for reader in READERS]
    for reader in ("mean", "attention-both", "positions"):
        one = replace(base, reader=reader)
        made += [replace(one, rate=rate) for rate in (3e-4, 3e-3)]
        made += [replace(one, epochs=epochs) for epochs in (3, 30)]
        made.append(replace(one, strands=True))
    return made


def run(trial: Trial, model: str, out: Path, accelerator: str) -> dict[str, object]:
    """Fine-tune, or read what an earlier call left."""
    folder = out / trial.name
    if not (folder / "metrics.json").is_file():
        data = LabelledConfig(table=None if trial.table == "yeast" else trial.table, alphabet="dna")
        data = replace(data, reverse_complement=trial.strands, valid_examples=4000, batch_size=64)
        number = _training_sequences(data)
        steps = max(50, trial.epochs * number // 32)
        train = FinetuneTrainConfig(
            max_steps=steps, learning_rate=trial.rate, validate_every=max(10, steps // 20), log_every=50
        )
        train = replace(train, checkpoint_every=steps)
        # The baselines are the same of every trial of a table: the first trial fits them.
        first = trial == trials(trial.table)[0]
        task = TaskConfig(freeze=trial.frozen, baselines=first, bootstrap=500)
        trainer = TrainerConfig(accelerator=accelerator)
        Finetuning(
            folder, data, model, READERS[trial.reader], task, train=train, trainer=trainer, quiet=True
        ).run()
    found = json.loads((folder / "metrics.json").read_text())
    values = found["test"]["accuracy"]
    row = [trial.table, trial.reader, trial.frozen, trial.strands, trial.epochs, trial.rate, "accuracy"]
    row += [found["valid"]["accuracy"]["value"], values["value"], values["low"], values["high"]]
    return dict(zip(COLUMNS, row, strict=True))


def _training_sequences(data: LabelledConfig) -> int:
    opened = data.build(0, global_batch_size=32, max_steps=1, world_size=1)
    return opened.train_counts[1]


def baselines(table: str, out: Path) -> list[dict[str, object]]:
    """Return what the first trial of a table wrote of the simple models."""
    found = json.loads((out / trials(table)[0].name / "metrics.json").read_text())
    rows = []
    for name, scores in found["baselines"].items():
        values = scores["test"]["accuracy"]
        row = [table, name, "", "", "", "", "accuracy", scores["valid"]["accuracy"]["value"]]
        row += [values[key] for key in ("value", "low", "high")]
        rows.append(dict(zip(COLUMNS, row, strict=True)))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("model")
    parser.add_argument("tables", nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--accelerator", default="cpu")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--readers", nargs="*", help="only these, of the plain trials")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    wanted = [trial for table in options.tables for trial in trials(table)]
    if options.readers:
        wanted = [
            trial
            for trial in wanted
            if trial.reader in options.readers and trial == Trial(trial.table, trial.reader, trial.frozen)
        ]
    options.out.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, object]] = []
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.jobs, mp_context=context) as pool:
        started = {
            trial: pool.submit(run, trial, options.model, options.out, options.accelerator)
            for trial in wanted
        }
        for trial, future in started.items():
            rows.append(future.result())
            print(trial.name, f"{rows[-1]['test']:.4f}", flush=True)
            _write(rows, options.out / "results.csv")
    for table in options.tables:
        if (options.out / trials(table)[0].name / "metrics.json").is_file():
            rows += baselines(table, options.out)
    _write(rows, options.out / "results.csv")


def _write(rows: list[dict[str, object]], path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
