"""Fine-tune one pretrained model with every head of docs/heads.md on tables of labelled sequences.

    python studies/aligned_heads.py MODEL TABLE [TABLE ...] --out FOLDER [--accelerator gpu] [--jobs 6]
    python studies/aligned_heads.py MODEL TABLE [TABLE ...] --out FOLDER --simple
    python studies/aligned_heads.py MODEL TABLE [TABLE ...] --out FOLDER --accelerator gpu --jobs 8 \\
        --readers auto conv2-positions-both attention-both positions-both --rates auto --seeds 0 1 2

TABLES are those of `studies/aligned_sets.py`, or any with a split; `yeast` stands for the package's own
windows, and the reader `auto` for what a fine-tuning chooses by itself. Leaves a folder for each fine-tuning;
results.csv: what each reached on validation and test, and the baselines; and verdicts.csv: per table the best
baseline, the reader that is best on validation, and whether its test is within one point of the baseline's.
Runs that are there already are read, not run again. All settings take hours; with --readers only the plain
ones of these readers are run, the first seed and reader of all tables first. --simple fits the baselines
alone, without a GPU, and leaves simple.json, which a later call with the same --out reads: then no run fits
them again, `auto` is what they choose, and every reader reads the strands that they choose.
"""

import argparse
import csv
import json
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from dnamamba import FinetuneTrainConfig, Finetuning, LabelledConfig
from dnamamba.auto import AUTO
from dnamamba.objectives.task_config import TaskConfig
from dnamamba.reports.finetuning import score_all
from dnamamba.training.baselines import Baselines
from dnamamba.training.choosing import choose
from dnamamba.training.config import TrainerConfig
from dnamamba.training.tuned import Pooling

READERS = {
    "auto": Pooling("auto"),
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
POINT = 0.01
SAMPLES = 500  # bootstrap draws
COLUMNS = (
    "table",
    "reader",
    "frozen",
    "strands",
    "epochs",
    "rate",
    "seed",
    "metric",
    "valid",
    "test",
    "low",
    "high",
)
SIMPLE = "simple.json"
VERDICTS = (
    "table",
    "baseline",
    "baseline_test",
    "reader",
    "seeds",
    "test",
    "low",
    "high",
    "difference",
    "within_a_point",
)


@dataclass(frozen=True)
class Trial:
    """One fine-tuning."""

    table: str
    reader: str
    frozen: bool = False
    strands: bool = False
    epochs: int = 10
    rate: float | str = 1e-3
    steps: int | None = None
    baselines: bool = False
    seed: int = 0
    pooling: Pooling = field(default_factory=Pooling)

    @property
    def name(self) -> str:
        """Of its folder."""
        kind = "frozen" if self.frozen else "free"
        strands = "both" if self.strands else "given"
        length = self.epochs if self.steps is None else f"{self.steps}steps"
        rate = self.rate if isinstance(self.rate, str) else f"{self.rate:g}"
        seed = f"_seed{self.seed}" if self.seed else ""
        return f"{Path(self.table).stem}_{self.reader}_{kind}_{strands}_{length}_{rate}{seed}"


def trials(table: str) -> list[Trial]:
    """Return the settings to run: every reader with free and frozen backbone, three with other rates too."""
    base = Trial(table, "mean")
    readers = [reader for reader in READERS if reader != "auto"]
    made = [replace(base, reader=reader, frozen=frozen) for frozen in (False, True) for reader in readers]
    for reader in ("mean", "attention-both", "positions"):
        one = replace(base, reader=reader)
        made += [replace(one, rate=rate) for rate in (3e-4, 3e-3)]
        made += [replace(one, epochs=epochs) for epochs in (3, 30)]
        made.append(replace(one, strands=True))
    # The baselines are the same of every trial of a table: the first one fits them.
    return [replace(made[0], baselines=True), *made[1:]]


def chosen_trials(
    tables: list[str],
    readers: list[str],
    rates: list[float | str],
    steps: int,
    seeds: list[int],
    simple: dict[str, Any],
) -> list[Trial]:
    """Return the plain trials of some readers, the first seed and reader of all tables first.

    Args:
        tables, readers, rates, seeds: to combine.
        steps: of each run.
        simple: by table, what `simple_models` found; of a table that is not there a run fits the baselines.
    """
    made = []
    for seed in seeds:
        for rate, reader, table in [(r, one, t) for r in rates for one in readers for t in tables]:
            first = (reader, rate, seed) == (readers[0], rates[0], seeds[0])
            known = simple.get(table, {})
            strands, pooling = known.get("strands", False), Pooling(**known.get("pooling", {}))
            made.append(
                Trial(
                    table,
                    reader,
                    strands=strands,
                    rate=rate,
                    steps=steps,
                    seed=seed,
                    pooling=pooling,
                    baselines=first and not known,
                )
            )
    return made


def _data(table: str) -> LabelledConfig:
    """Return the data of a table: a regression if its first label is a number."""
    if table == "yeast":
        return LabelledConfig(alphabet="dna", batch_size=64)
    with Path(table).open(newline="") as file:
        label = next(csv.DictReader(file, delimiter="\t"))["label"]
    task = "regression" if label[:1].isdigit() or label[:1] == "-" else "classification"
    return LabelledConfig(table=table, task=task, alphabet="dna", batch_size=64)


def _metric(found: dict[str, Any]) -> str:
    return "accuracy" if "accuracy" in found else "pearson"


def simple_models(table: str) -> dict[str, Any]:
    """Return the baselines' rows of results.csv, and what they choose: `pooling` and `strands`."""
    data = _data(table).build(0, global_batch_size=32, max_steps=1, world_size=1)
    decoder, console = data.decoder("mean"), Console()
    fitted = Baselines(decoder.head, None, data)
    pooling, _ = choose(Pooling(), data, fitted, console)
    rows = []
    for one in fitted.fit(console).all:
        found, _ = score_all(decoder, one.scored, SAMPLES)
        metric = _metric(found["test"])
        values = found["test"][metric]
        row = [table, one.name, "", "", "", "", "", metric, found["valid"][metric]["value"]]
        rows.append(dict(zip(COLUMNS, row + [values[key] for key in ("value", "low", "high")], strict=True)))
    return {"pooling": asdict(pooling), "strands": data.reverse_complement, "rows": rows}


def run(trial: Trial, model: str, out: Path, accelerator: str) -> dict[str, object]:
    """Fine-tune, or read what an earlier call left."""
    folder = out / trial.name
    if not (folder / "metrics.json").is_file():
        data = replace(_data(trial.table), reverse_complement=trial.strands)
        steps = trial.steps or max(50, trial.epochs * _training_sequences(data) // 32)
        train = FinetuneTrainConfig(
            seed=trial.seed,
            max_steps=steps,
            learning_rate=trial.rate,
            validate_every=max(10, steps // 8),
            log_every=50,
            checkpoint_every=steps,
        )
        pooling = READERS[trial.reader]
        if trial.reader == "auto":
            pooling = trial.pooling
        # What is chosen automatically is chosen by the baselines.
        needed = trial.baselines or pooling.mode == AUTO
        task = TaskConfig(freeze=trial.frozen, baselines=needed, bootstrap=SAMPLES)
        trainer = TrainerConfig(accelerator, precision="bf16-mixed" if accelerator == "gpu" else "32-true")
        Finetuning(folder, data, model, pooling, task, train=train, trainer=trainer, quiet=True).run()
    found = json.loads((folder / "metrics.json").read_text())
    metric = _metric(found["test"])
    values = found["test"][metric]
    row = [trial.table, trial.reader, trial.frozen, trial.strands, trial.epochs, trial.rate, trial.seed]
    row += [metric, found["valid"][metric]["value"], values["value"], values["low"], values["high"]]
    return dict(zip(COLUMNS, row, strict=True))


def _training_sequences(data: LabelledConfig) -> int:
    opened = data.build(0, global_batch_size=32, max_steps=1, world_size=1)
    return opened.train_counts[1]


def baselines(trial: Trial, out: Path) -> list[dict[str, object]]:
    """Return what a trial wrote of the simple models."""
    found = json.loads((out / trial.name / "metrics.json").read_text())
    rows = []
    for name, scores in found["baselines"].items():
        metric = _metric(scores["test"])
        values = scores["test"][metric]
        row = [trial.table, name, "", "", "", "", "", metric, scores["valid"][metric]["value"]]
        row += [values[key] for key in ("value", "low", "high")]
        rows.append(dict(zip(COLUMNS, row, strict=True)))
    return rows


def verdicts(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return for each table how the best reader, by validation, compares with the baseline best on the test.

    Args:
        rows: as in results.csv, of seeds the mean counts; those of baselines have no rate.
    """
    found = []
    for table in dict.fromkeys(row["table"] for row in rows):
        own = [row for row in rows if row["table"] == table]
        # A constant guess has no correlation: no value to compare.
        simple = [row for row in own if row["rate"] == "" and row["test"] is not None]
        ours = [row for row in own if row["rate"] != ""]
        if simple and ours:
            best = max(simple, key=lambda row: row["test"])
            reader = max(over_seeds(ours), key=lambda row: row["valid"])
            lead = reader["test"] - best["test"]
            row = [table, best["reader"], best["test"]]
            row += [reader[key] for key in ("reader", "seeds", "test", "low", "high")]
            found.append(dict(zip(VERDICTS, [*row, lead, lead >= -POINT], strict=True)))
    return found


def over_seeds(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return one row per setting: the means over its seeds, and `seeds`, their number."""
    alone = ("seed", "valid", "test", "low", "high")
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(value for key, value in row.items() if key not in alone), []).append(row)
    means = [
        group[0] | {key: sum(row[key] for row in group) / len(group) for key in alone[1:]}
        for group in groups.values()
    ]
    return [row | {"seeds": len(group)} for row, group in zip(means, groups.values(), strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("model")
    parser.add_argument("tables", nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--accelerator", default="cpu")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--readers", nargs="+", choices=READERS, help="only these, with a free backbone")
    parser.add_argument(
        "--rates", nargs="+", type=_rate, default=[1e-3], help="numbers or auto, with --readers"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="with --readers")
    parser.add_argument("--simple", action="store_true", help="fit the baselines alone")
    parser.add_argument("--steps", type=int, default=400, help="with --readers, default: %(default)s")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    options.out.mkdir(parents=True, exist_ok=True)
    kept = options.out / SIMPLE
    if options.simple:
        kept.write_text(
            json.dumps({table: simple_models(table) for table in options.tables}, indent=2) + "\n"
        )
        return
    # By the name of its file: where the tables lie may be another place by now.
    known = (
        {Path(table).stem: one for table, one in json.loads(kept.read_text()).items()}
        if kept.is_file()
        else {}
    )
    simple = {table: known[Path(table).stem] for table in options.tables if Path(table).stem in known}
    wanted = [trial for table in options.tables for trial in trials(table)]
    if options.readers:
        wanted = chosen_trials(
            options.tables, options.readers, options.rates, options.steps, options.seeds, simple
        )
    rows: list[dict[str, Any]] = [
        row | {"table": table} for table, one in simple.items() for row in one["rows"]
    ]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.jobs, mp_context=context) as pool:
        started = {
            pool.submit(run, trial, options.model, options.out, options.accelerator): trial
            for trial in wanted
        }
        for future in as_completed(started):
            trial = started[future]
            if future.exception() is not None:
                print(trial.name, "failed:", future.exception(), flush=True)
                continue
            rows.append(future.result())
            if trial.baselines:
                rows += baselines(trial, options.out)
            print(trial.name, f"{future.result()['test']:.4f}", flush=True)
            _write(rows, options.out / "results.csv", COLUMNS)
            _write(verdicts(rows), options.out / "verdicts.csv", VERDICTS)
    for row in verdicts(rows):
        print(*(f"{value:.4f}" if isinstance(value, float) else value for value in row.values()), sep="\t")


def _rate(text: str) -> float | str:
    return text if text == AUTO else float(text)


def _write(rows: list[dict[str, Any]], path: Path, columns: tuple[str, ...]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
