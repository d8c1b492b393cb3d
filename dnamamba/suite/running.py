"""A benchmark carried out: zero-shot, probe and fine-tuning of one model, with baselines to compare with."""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dnamamba.checkpoint import Model, load, model_hash
from dnamamba.data.alphabet import get_alphabet, need_bases
from dnamamba.data.embedded import YEAST_MODEL
from dnamamba.datasets.base import DataModule, filled, longest
from dnamamba.errors import UserError
from dnamamba.files import LOCK, locked, replacing
from dnamamba.inference.device import need_language_model
from dnamamba.models import LanguageModel
from dnamamba.models.base import need
from dnamamba.objectives.task_config import TaskConfig
from dnamamba.seals import read_results
from dnamamba.suite.base import Row, Suite, check_choice, check_suite
from dnamamba.suite.intervals import ratio
from dnamamba.suite.leakage import Leakage, audit
from dnamamba.suite.linter import lint
from dnamamba.suite.report import write_report
from dnamamba.terminal import Console
from dnamamba.training.config import TrainerConfig
from dnamamba.training.finetuning import Finetuning
from dnamamba.training.resume import Finished, forget_outcome

# What a constant answer reaches by definition, whatever the shares of the classes.
CONSTANT = {"mcc": 0.0, "auroc": 0.5}
SETTINGS_FILE = "settings.json"  # of the folder: what is measured


def run_benchmark(
    suite: Suite,
    model: Model | str | Path | None,
    folder: str | Path,
    *,
    device: str = "auto",
    seed: int = 0,
    quiet: bool = False,
    protocols: Sequence[str] | None = None,
    linter: str | None = None,
) -> dict[str, Any]:
    """Run every protocol of a suite; write benchmark.json, benchmark.tsv and benchmark.png; print the table.

    A protocol that the model's family can't run is a row without a value, whose note says why. What an
    earlier call of the same benchmark has trained in the folder is resumed.

    Args:
        suite: see `find_suite`.
        model: pretrained, or where it lies; None for the package's yeast model.
        folder: takes the three files, and the runs `probe` and `finetune`.
        device: `auto` (a GPU where there is one), `cpu` or `cuda`.
        seed: of heads, training and intervals.
        quiet: print nothing.
        protocols: some of the suite's; None: all of them.
        linter: `seqleak`, which checks the splits for more leaks (an extra); None: none.

    Returns:
        What benchmark.json holds.

    Raises:
        UserError: a file of the suite is missing or changed, the model can't be used, it can run none of
            the protocols, or the folder holds another benchmark or is in use; nothing was written.
    """
    check_suite(suite)
    check_choice(suite)
    wanted = _wanted(suite, protocols)
    if linter not in (None, "seqleak"):
        raise UserError(f"linter: must be seqleak or null (got {linter!r})")
    if linter is not None and set(wanted) == {"zero_shot"}:
        raise UserError(f"linter: no protocol of {suite.title} splits sequences (got {linter}); leave it out")
    place = _place(device)
    suite.verified()
    name, given = "the package's yeast model" if model is None else str(model), model
    if isinstance(model, str | Path | None):
        model = load(YEAST_MODEL if model is None else model)
    else:
        name = f"a {model.config.family.rpartition('.')[2]} in memory"
    need_bases(get_alphabet(model.config.alphabet))
    refused = _refusal(suite, model, name) if "zero_shot" in wanted else None
    if refused is not None and set(wanted) == {"zero_shot"}:
        raise UserError(refused)
    folder, console = Path(folder), Console(quiet=quiet)
    settings = {"benchmark": suite.name, "model_sha256": model_hash(model), "seed": seed, "device": place}
    settings |= {"task": suite.task, "examples": suite.examples}
    with locked(folder), _own(folder, settings):
        rows: list[Row] = []
        labelled = [protocol for protocol in wanted if protocol != "zero_shot"]
        if "zero_shot" in wanted:
            with console.status("zero_shot"):
                rows += _zero_shot(suite, model, name, place, seed, refused)
        leakage: Leakage | None = None
        linted: dict[str, Any] | None = None
        if labelled:
            with console.status("comparing the splits"):
                leakage = audit(_opened(suite, model, seed))
                if linter is not None:
                    linted = lint(_opened(suite, model, seed), seed)
        simple: list[Row] = []
        for protocol in labelled:
            console.print(protocol)
            last = suite.linear and protocol == labelled[-1]
            row, fitted = _trained(
                suite, given, model, name, protocol, folder / protocol, place, seed, quiet, baselines=last
            )
            rows.append(row)
            simple += fitted
        if labelled:
            with console.status("majority class"):
                rows += [*simple, *_majority(suite, model, seed)]
        return write_report(suite, name, seed, place, rows, folder, console, leakage, linted)


def _wanted(suite: Suite, protocols: Sequence[str] | None) -> list[str]:
    unknown = [one for one in protocols or () if one not in suite.protocols]
    if unknown or protocols == []:
        raise UserError(
            f"protocols: {suite.name} has {', '.join(suite.protocols)} (got {', '.join(unknown) or 'none'}); "
            "choose of these"
        )
    return [one for one in suite.protocols if protocols is None or one in protocols]


@contextmanager
def _own(folder: Path, settings: dict[str, Any]) -> Iterator[None]:
    """Say in the folder what is measured there: a run that is resumed must not be of another model.

    It says so no longer where an error left nothing else.

    Raises:
        UserError: it holds another benchmark, or can't be written.
    """
    path = folder / SETTINGS_FILE
    earlier_one = path.exists()
    if earlier_one:
        try:
            earlier = json.loads(path.read_text(encoding="utf-8"))
            differ = ", ".join(key for key in settings if earlier[key] != settings[key])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            differ = f"settings, or {SETTINGS_FILE} is damaged"
        if differ:
            raise UserError(
                f"{folder}: holds a benchmark with another {differ}; choose another hydra.run.dir"
            )
    else:
        try:
            with replacing(path) as beside:
                beside.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise UserError(
                f"{folder}: can't be written ({error.strerror}); choose another hydra.run.dir"
            ) from None
    try:
        yield
    except BaseException:
        if not earlier_one and {each.name for each in folder.iterdir()} <= {SETTINGS_FILE, LOCK}:
            path.unlink()
        raise


def _place(device: str) -> str:
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device not in ("cpu", "cuda"):
        raise UserError(
            f"device: is none that a benchmark runs on (got {device!r}); choose auto, cpu or cuda"
        )
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("device: there is no CUDA GPU that torch can use (got cuda); choose device=cpu")
    return device


def _refusal(suite: Suite, model: Model, name: str) -> str | None:
    try:
        need(need_language_model(model, name).backbone, suite.needs, "zero_shot")
    except UserError as error:
        return str(error)
    return None


def _zero_shot(
    suite: Suite, model: Model, name: str, place: str, seed: int, refused: str | None
) -> Sequence[Row]:
    baselines = suite.baselines(seed)
    if refused is not None:
        return [Row("zero_shot", name, suite.metric, None, note=refused), *baselines]
    assert isinstance(model, LanguageModel)
    device, training = model.backbone.device, model.training
    began = time.perf_counter()
    try:
        with torch.inference_mode():
            row = suite.zero_shot(model.to(place).eval(), seed)
    finally:
        model.to(device).train(training)
    return [replace(row, protocol="zero_shot", model=name, seconds=time.perf_counter() - began), *baselines]


def _trained(
    suite: Suite,
    given: Model | str | Path | None,
    model: Model,
    name: str,
    protocol: str,
    folder: Path,
    place: str,
    seed: int,
    quiet: bool,
    *,
    baselines: bool,
) -> tuple[Row, list[Row]]:
    """Return the row of `probe` or `finetune`, and with `baselines` those of simple models on the same split.

    A probe's head is computed for classes and trained otherwise.
    """
    data = suite.data()
    task = TaskConfig(bootstrap=suite.bootstrap, baselines=baselines)
    if protocol == "probe":
        closed = _opened(suite, model, seed).decoder("mean").head.reads == "class"
        task = replace(task, fit="closed") if closed else replace(task, freeze=True)
    run = Finetuning(
        folder,
        data,
        given,
        task=task,
        train=replace(suite.train, seed=seed),
        trainer=TrainerConfig(accelerator="gpu" if place == "cuda" else "cpu"),
        ckpt_path=None if task.fit == "closed" else "auto",
        quiet=quiet,
    )
    if task.fit == "closed":  # which can't be resumed: computed again, as by a run that was killed
        forget_outcome(folder)
    began = time.perf_counter()
    try:
        result = run.run()
        assert result is not None, "a benchmark is one process"
        results, seconds = result.results, time.perf_counter() - began
    except Finished:
        results, seconds = read_results(folder / "metrics.json", "remove it"), None
    test = results["test"]
    if suite.metric not in test:
        known = ", ".join(key for key, value in test.items() if isinstance(value, dict))
        raise UserError(
            f"{type(suite).__name__}.metric: not a metric of its task (got {suite.metric!r}); "
            f"choose one of {known}"
        )
    found = test[suite.metric]
    # What is in two splits flatters a score: it is printed with it.
    leaks = [line for line in results["data"]["notes"] if line.startswith("warning: ")]
    note = "; ".join(leaks)
    number = test["examples"]
    row = Row(
        protocol, name, suite.metric, found["value"], found["low"], found["high"], number, seconds, note
    )
    return row, _simple(suite, results, number)


def _simple(suite: Suite, results: dict[str, Any], number: int) -> list[Row]:
    """Return linear models of words and of positions, where they were fitted; a constant is `_majority`'s."""
    rows = []
    for name, scores in results.get("baselines", {}).items():
        found = scores["test"][suite.metric]
        if "k" in scores or name.startswith("one-hot"):
            note = f"{scores['training_sequences']:,} training sequences"
            limits = found["value"], found["low"], found["high"]
            rows.append(Row("baseline", name, suite.metric, *limits, number, note=note))
    return rows


def _opened(suite: Suite, model: Model, seed: int) -> DataModule:
    config = filled(suite.data(), model.config.alphabet)
    train = suite.train.filled().in_sequences(longest(config))
    return config.build(
        seed, global_batch_size=train.sequences_per_step, max_steps=train.max_steps, world_size=1
    )


def _majority(suite: Suite, model: Model, seed: int) -> list[Row]:
    """Score the most frequent class of the training split on the test split; nothing of a number."""
    data = _opened(suite, model, seed)
    decoder = data.decoder("mean")
    labels = torch.cat([batch["labels"] for batch in dict(data.held_out_loaders())["test"]]).numpy()
    note = ""
    value = low = high = None
    of_classes = decoder.head.reads == "class"
    if decoder.head.reads == "number":
        return []
    counts, _ = data.train_counts if of_classes else ([0], 0)
    answer = int(np.argmax(counts))
    name = f"majority class ({decoder.labels[answer]})"
    if not of_classes:
        name, note = "majority class", f"a {decoder.kind} has none"
    elif suite.metric == "accuracy":
        hits = (labels == answer).astype(np.float64)
        value, low, high = ratio(hits, np.ones(len(hits), dtype=np.int64), suite.bootstrap, seed)
    elif suite.metric in CONSTANT:
        value = low = high = CONSTANT[suite.metric]
    else:
        note = f"not computed for {suite.metric}"
    return [Row("baseline", name, suite.metric, value, low, high, len(labels), note=note)]
