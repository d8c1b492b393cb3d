"""Fine-tune on real species on GPUs: ENCODE regions, great apes of chromosome 22, and a context of 2^20.

    python studies/species.py run FOLDER --data DATA --model LOG2_LENGTH=MODEL [...] [OVERRIDE ...]
    python studies/species.py longest FOLDER --model 20=MODEL [OVERRIDE ...]

DATA is what `species_pack.py unpack` makes. A task starts from the model of its own length, else from that of
the next shorter one, else of the shortest. `run` keeps every GPU of --gpus busy with one run at a time, skips
finished runs, and continues when one fails; --only takes shell patterns of their names, --list prints the
commands. Each leaves FOLDER/NAME/ as `python -m dnamamba.finetune` makes it, and FOLDER/NAME.log.

`longest` simulates five apes and trains 10 steps of 64 windows of 2^20 bases on one GPU; memory and time go
to FOLDER/longest.json. OVERRIDEs go to every run. `species_table.py` makes the table and the picture.
"""

import argparse
import json
import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from queue import Empty, Queue

import numpy as np

FIVE = ("human", "mouse", "dog", "cow", "monodelphis")
PRIMATES = ("human", "chimp", "baboon", "macaque", "marmoset", "galago")
APES = ("human", "chimpanzee", "gorilla", "orangutan")
MICRO_BASES = 1 << 20
SHORTEST = 1 << 10


@dataclass(frozen=True)
class Task:
    """A fine-tuning run: species, windows of 2^`log2` bases, steps in all and at each shorter length.

    `valid` is of windows a species; `strand` of those that validate and test; `closed` of a head that is
    computed from as many steps and from the validation windows.
    """

    group: str
    species: tuple[str, ...]
    log2: int
    steps: int
    sequences: int
    warmup: int
    strand: str = "forward"
    label_smoothing: float = 0.0
    valid: int = 60
    closed: bool = False

    @property
    def name(self) -> str:
        return f"{self.group}_2p{self.log2}"

    def command(self, data: Path, model: str, folder: Path) -> list[str]:
        """Return the command line of the run."""
        length = 1 << self.log2
        settings = [
            f"model={model}",
            "data=species",
            "trainer=gpu",
            "data.remove_n=true",
            "data.reverse_complement=true",
            "data.draw=base",
            f"data.max_length={length}",
            f"data.batch_size={min(self.sequences, MICRO_BASES // length)}",
            f"data.valid_windows={self.valid * len(self.species)}",
            f"data.test_windows={300 * len(self.species)}",
            f"train.max_steps={self.steps}",
            f"train.global_batch_size={self.sequences}",
            f"decoder.strand={self.strand}",
            f"task.label_smoothing={self.label_smoothing}",
            f"hydra.run.dir={folder / self.name}",
        ]
        if self.group.startswith("apes"):
            settings += ["data.split=record", "data.valid=null", "data.test=null", "decoder.mode=last"]
            files = {"species": "great_apes_chr22"}
        else:
            settings += ["data.split=file", f"decoder.mode={'next' if self.closed else 'mean'}"]
            files = {"species": "ENm001", "test_species": "ENm002"}
        if self.closed:
            settings += ["task.fit=closed", "task.refit=true"]
        else:
            settings += [
                f"train.validate_every={max(1, self.steps // 5)}",
                f"train.checkpoint_every={self.steps}",
                "train.learning_rate=1e-3",
                "train.final_learning_rate=1e-6",
            ]
        if self.warmup:
            settings += [
                f"data.length_warmup.first_length={SHORTEST}",
                f"data.length_warmup.steps={self.warmup}",
            ]
        for key, region in files.items():
            settings += [f"++data.{key}.{name}={data / region / name}.fa" for name in self.species]
        return [sys.executable, "-m", "dnamamba.finetune", *settings]


# Log2 of the length, steps, windows a step, steps at each shorter power of two: one to two minutes an H200.
ENCODE = ((13, 300, 64, 0), (16, 600, 32, 80))
CHROMOSOME_22 = ((10, 600, 64, 0), (12, 400, 64, 0), (14, 340, 64, 60), (16, 440, 32, 60), (17, 470, 16, 60))
BOTH = {"strand": "both", "label_smoothing": 0.1, "valid": 200}
TASKS = (
    Task("encode5", FIVE, 10, 1000, 128, 0, **BOTH),
    *(Task("encode5", FIVE, *shape) for shape in ENCODE),
    Task("primates6", PRIMATES, 10, 300, 128, 0, **BOTH),
    *(Task("primates6", PRIMATES, *shape) for shape in ENCODE),
    Task("primates6_closed", PRIMATES, 10, 1000, 64, 0, strand="both", valid=200, closed=True),
    Task("primates6_closed", PRIMATES, 13, 200, 64, 0, strand="both", valid=200, closed=True),
    Task("primates6_closed", PRIMATES, 16, 120, 32, 0, strand="both", valid=50, closed=True),
    *(
        Task(group, species, *shape)
        for group, species in (("apes4", APES), ("apes5", (*APES, "bonobo_SIMULATED")))
        for shape in CHROMOSOME_22
    ),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("run", "longest"):
        command = commands.add_parser(name)
        command.add_argument("folder", type=Path)
        command.add_argument("--model", action="append", required=True, metavar="LOG2=PATH")
        if name == "run":
            command.add_argument("--data", type=Path, required=True)
            command.add_argument("--gpus", default="0,1", help="default: %(default)s")
            command.add_argument("--only", action="append", metavar="PATTERN", help="names of runs")
            command.add_argument("--list", action="store_true", help="only print the commands")
    # argparse gives up on a list of positional arguments that follows options.
    options, options.overrides = parser.parse_known_args()
    strange = [text for text in options.overrides if text.startswith("-") or "=" not in text]
    if strange:
        parser.error(f"{strange[0]} is neither an option nor an override KEY=VALUE")
    models = {int(log2): path for log2, path in (text.split("=", 1) for text in options.model)}
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.command == "longest":
        return longest(options.folder, nearest(models, 20), options.overrides)
    wanted = [task for task in TASKS if any(fnmatch(task.name, only) for only in options.only or ["*"])]
    return run(wanted, options, models)


def nearest(models: dict[int, str], log2: int) -> str:
    """Return the model of a length, else of the next shorter one, else of the shortest."""
    shorter = [known for known in models if known <= log2]
    return models[max(shorter)] if shorter else models[min(models)]


def run(tasks: list[Task], options: argparse.Namespace, models: dict[int, str]) -> int:
    """Run the tasks, one at a time on each GPU; 1 if one failed."""
    queue: Queue[Task] = Queue()
    failed = []
    for task in sorted(tasks, key=lambda task: -task.steps * task.sequences << task.log2):
        queue.put(task)

    def work(gpu: str) -> None:
        while True:
            try:
                task = queue.get_nowait()
            except Empty:
                return
            if (options.folder / task.name / "metrics.json").is_file():
                continue
            command = [
                *task.command(options.data.absolute(), nearest(models, task.log2), options.folder.absolute()),
                *options.overrides,
            ]
            if options.list:
                print(" ".join(command), flush=True)
                continue
            log = options.folder / f"{task.name}.log"
            with log.open("w") as out:
                environment = {**os.environ, "CUDA_VISIBLE_DEVICES": gpu}
                code = subprocess.run(
                    command, stdout=out, stderr=subprocess.STDOUT, env=environment
                ).returncode
            print(f"{task.name}: {'done' if code == 0 else f'FAILED, see {log}'}", flush=True)
            if code:
                failed.append(task.name)

    workers = [threading.Thread(target=work, args=(gpu,)) for gpu in options.gpus.split(",")]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return int(bool(failed))


def longest(folder: Path, model: str, overrides: list[str]) -> int:
    """Train at 2^20 on simulated apes, and note memory and the time of a step."""
    import torch

    from data_prep.simulate_apes import simulate
    from dnamamba.commands.finetune import finetune
    from dnamamba.commands.plan import plan_finetuning
    from dnamamba.config import composed
    from dnamamba.reports.figures import read_metrics

    genomes = folder / "SIMULATED"
    if not (genomes / "SIMULATED.json").is_file():
        simulate(genomes, size=24_000_000, chromosomes=6)
    species = ("human", "chimpanzee", "gorilla", "orangutan", "bonobo")
    settings = [
        "experiment=apes/2p20_1m4",
        f"model={model}",
        "data.split=record",
        "data.valid=[chr5]",
        "data.test=[chr6]",
        "data.length_warmup.first_length=null",
        "data.valid_windows=10",
        "data.test_windows=20",
        "train.max_steps=10",
        "train.log_every=1",
        "train.validate_every=10",
        "train.checkpoint_every=10",
        *(f"data.species.{name}={genomes.absolute() / name}_SIMULATED.fa" for name in species),
        *overrides,
    ]
    cfg = composed("finetune", settings)
    planned = plan_finetuning(cfg)
    finetune(cfg, folder / "longest")
    logged = read_metrics(folder / "longest" / "metrics.csv")
    speeds = [row["train/bases_per_second"] for row in logged if "train/bases_per_second" in row]
    bases = cfg.train.global_batch_size * cfg.data.max_length
    found = {
        "what": "fine-tuning on SIMULATED great apes",
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU",
        "torch": torch.__version__,
        "length": cfg.data.max_length,
        "sequences_per_step": cfg.train.global_batch_size,
        "steps": cfg.train.max_steps,
        "seconds_per_step": bases / float(np.median(speeds)),
        "peak_gib": torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else None,
        "planned_seconds_per_step": planned.seconds and planned.seconds / planned.steps,
        "planned_gib": planned.memory_gib,
        "losses": [row["train/loss"] for row in logged if "train/loss" in row],
    }
    (folder / "longest.json").write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
