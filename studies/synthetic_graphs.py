"""Train one synthetic task of the Mamba paper with whole steps as CUDA graphs: minutes, not an hour.

    python studies/synthetic_graphs.py --experiment induction_heads --seeds 0 1 2 --out logs/synthetic
    python studies/synthetic.py --out logs/synthetic --report

The model, the examples, their order and the learning rates are those of `pretrain experiment=synthetic/...`,
where a host launches the parts of a step one by one; the loop around them is this file's own. Seeds are
trained side by side, each on a stream of its GPU, which one such model cannot fill. The same
command resumes where it stopped. The run is tested at every length of the experiment when its time or its
steps are over; `studies/synthetic.py --report` makes tables and pictures of all runs of OUT.
"""

import argparse
import csv
import json
import math
import os
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from synthetic import AT_A_TIME, Job
from torch import Tensor

from dnamamba import LanguageModel, save_model
from dnamamba.commands.pretrain import settings_of
from dnamamba.config import composed
from dnamamba.data.length_schedule import Stage
from dnamamba.objectives.answers import Answers, AnswersMeter
from dnamamba.training.optim import adamw
from dnamamba.training.optimizer_graph import OptimizerGraph

STEPS = 100  # taken at a time: between two of them the host may look at the clock


class Run:
    """A model in training, with what a checkpoint needs."""

    def __init__(self, job: Job, device: torch.device, more: list[str]) -> None:
        settings = [f"experiment=synthetic/{job.experiment}", f"train.seed={job.seed}", *more]
        found = settings_of(composed("pretrain", settings), job.folder)
        self.train, self.device, self.job = found.train.in_sequences(None), device, job
        self.half = found.trainer.precision.startswith("bf16") and device.type == "cuda"
        self.data: Any = found.data.build(
            job.seed,
            global_batch_size=self.train.sequences_per_step,
            max_steps=self.train.max_steps,
            world_size=1,
        )
        self.schedule = self.train.schedule(self.data.schedule.max_steps)
        torch.manual_seed(job.seed)
        self.model = LanguageModel(found.model).to(device)
        self.objective = Answers(found.model)
        self.optimizer = adamw(
            self.model,
            self.schedule,
            weight_decay=self.train.weight_decay,
            betas=(self.train.betas[0], self.train.betas[1]),
            epsilon=self.train.epsilon,
        )
        self.stream = torch.cuda.Stream() if device.type == "cuda" else None
        self.steps = 0
        self.curve: list[tuple[int, float, float]] = []
        self.path = job.folder / "checkpoints" / "graphs.ckpt"
        if self.path.is_file():
            kept = torch.load(self.path, weights_only=True, map_location=device)
            self.model.load_state_dict(kept["model"])
            self.optimizer.load_state_dict(kept["optimizer"])
            self.steps, self.curve = kept["steps"], kept["curve"]

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        kept = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        torch.save(kept | {"steps": self.steps, "curve": self.curve}, self.path.with_suffix(".new"))
        os.replace(self.path.with_suffix(".new"), self.path)

    def loss(self, batch: dict[str, Tensor]) -> Tensor:
        """Return the mean loss of a step's answers."""
        # What autocast has cast must not outlive a graph.
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half, cache_enabled=False):
            return self.objective.loss_sum(self.model, batch) / batch["answers"].numel()

    def blocks(self) -> Iterator[tuple[Stage, int, int]]:
        """Yield stages, a step of each and how many to take at once, from the step that was reached."""
        step = self.steps
        while step < self.data.schedule.max_steps:
            stage = self.data.schedule.stage_at(step)
            every = self.train.validate_every
            size = min(STEPS, stage.end_step - step, every - step % every)
            yield stage, step, size
            step += size

    def drawn(self, stage: Stage, first: int, size: int) -> dict[str, Tensor]:
        """Return the examples of so many steps, [steps, B, ...]."""
        index = np.concatenate([stage.samples(step) for step in range(first, first + size)])
        made = self.data.config.task(stage.length).draw(self.job.seed, "train", index)
        both = {"tokens": torch.from_numpy(made.tokens), "answers": torch.from_numpy(made.answers)}
        shaped = {name: tensor.view(size, stage.sequences, -1) for name, tensor in both.items()}
        on_gpu = self.device.type == "cuda"
        return {name: tensor.pin_memory() if on_gpu else tensor for name, tensor in shaped.items()}

    @torch.inference_mode()
    def accuracy(self, loader: Iterable[dict[str, Tensor]]) -> AnswersMeter:
        """Score every batch."""
        meter = AnswersMeter().to(self.device)
        for batch in loader:
            meter.update(self.model, {name: tensor.to(self.device) for name, tensor in batch.items()})
        return meter

    def graph_of(self, batches: dict[str, Tensor]) -> OptimizerGraph:
        """Return the steps of batches of this shape; on a CPU without a graph."""
        room = {
            name: torch.zeros(STEPS, *tensor.shape[1:], dtype=tensor.dtype, device=self.device)
            for name, tensor in batches.items()
        }
        plain = None if self.device.type == "cuda" else list
        return OptimizerGraph(self.model, self.optimizer, self.loss, room, self.train.gradient_clip, plain)

    def course(self, pool: Executor, until: float) -> Iterator[None]:
        """Train until the time or the steps are over; a checkpoint is left.

        Yields after each block of steps was handed to the device, which meanwhile can take those of another
        run: each has its own stream.
        """
        graph: tuple[Stage, OptimizerGraph] | None = None
        began, first = time.monotonic(), self.steps
        blocks = list(self.blocks())
        ahead = pool.submit(self.drawn, *blocks[0]) if blocks else None
        for place, (stage, step, size) in enumerate(blocks):
            if time.monotonic() > until:
                break
            assert ahead is not None
            batches = ahead.result()
            if place + 1 < len(blocks):
                ahead = pool.submit(self.drawn, *blocks[place + 1])  # while the device works
            with self.aside():
                if graph is None or graph[0] != stage:
                    graph = stage, self.graph_of(batches)
                rates = torch.tensor([self.schedule(one) for one in range(step, step + size)])
                losses = graph[1](batches, rates.to(self.device))
            yield
            with self.aside():
                self.steps = step + size
                loss = float(losses.mean())  # waits for the device
                if not math.isfinite(loss):
                    raise SystemExit(
                        f"the loss is {loss} before step {self.steps:,}; nothing was saved since"
                    )
                if self.steps % self.train.validate_every == 0:
                    speed = (self.steps - first) / (time.monotonic() - began)
                    self.validated(loss, f"length {stage.length:,}, {speed:.0f} steps/s")
        self.save()
        spent = time.monotonic() - began
        done = self.steps - first
        self.say(f"SPEED {done:,} steps in {spent:.0f} s, {done / spent:.1f} steps/s")

    def aside(self) -> AbstractContextManager[Any]:
        """Work on the run's own stream."""
        return torch.cuda.stream(self.stream) if self.stream is not None else nullcontext()

    def say(self, text: str) -> None:
        """Print a line of this run."""
        print(f"{self.job.folder.name}: {text}", flush=True)

    def validated(self, loss: float, more: str) -> None:
        """Add to the curve, print it, and save.

        Args:
            loss: of the last steps.
            more: to print.
        """
        accuracy = float(self.accuracy(self.data.val_dataloader()).compute()["accuracy"])
        self.curve.append((self.steps, loss, accuracy))
        self.say(f"step {self.steps:,}: loss {loss:.1e}, accuracy {accuracy:.4f}, {more}")
        self.save()


def trained(runs: list[Run], until: float) -> None:
    """Train runs side by side on one device."""
    if runs[0].device.type == "cuda":
        torch.cuda.synchronize()  # weights were made on the common stream
    with ThreadPoolExecutor(len(runs)) as pool:
        courses = [run.course(pool, until) for run in runs]
        while courses:
            courses = [course for course in courses if next(course, True) is None]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--experiment", required=True, help="of synthetic/")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="trained side by side")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=540, help="that the whole call may take")
    parser.add_argument(
        "--testing", type=float, default=60, help="seconds of them that are kept for the test"
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("more", nargs="*", help="settings of the runs, after --")
    options = parser.parse_args()
    began = time.monotonic()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # which the next line asks for
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    runs = []
    for seed in options.seeds:
        job = Job(options.experiment, seed, options.out)
        job.folder.mkdir(parents=True, exist_ok=True)
        runs.append(Run(job, torch.device(options.device), options.more))
    trained(runs, began + options.seconds - options.testing)
    for run in runs:
        save_model(run.model, run.job.folder / "model", overwrite=True)
        with (run.job.folder / "metrics.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["step", "train/loss", "val/accuracy"])
            writer.writerows((step - 1, loss, accuracy) for step, loss, accuracy in run.curve)
    tested(runs)


def tested(runs: list[Run]) -> None:
    """Test at every length, short ones first: those are there if the time is over."""
    config = runs[0].data.config
    rows: list[list[dict[str, int]]] = [[] for _ in runs]
    for length in config.scored_lengths:
        size = max(1, AT_A_TIME // config.max_length)
        asked = replace(config, test_lengths=[length], batch_size=size)
        data = asked.build(0, global_batch_size=size, max_steps=1, world_size=1)
        batches = list(dict(data.held_out_loaders())["test"])
        for run, own in zip(runs, rows, strict=True):
            meter = run.accuracy(batches)
            meter.compute()
            own += [row._asdict() for row in meter.scored]
            found = {"steps": run.steps, "rows": own}
            (run.job.folder / "tested.json").write_text(json.dumps(found))
            run.say(f"length {length:,}: {own[-1]['right']} of {own[-1]['answers']}")


if __name__ == "__main__":
    main()
