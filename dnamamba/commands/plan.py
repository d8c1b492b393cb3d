"""What `dnamamba plan` and `finetune mode=plan` do: print what a run would take, before it is started."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from dnamamba.auto import AUTO
from dnamamba.commands import finetune, pretrain
from dnamamba.commands.data_sets import settings_class
from dnamamba.commands.settings import data_config, model_config, print_published
from dnamamba.commands.unused import check_groups
from dnamamba.config import typed
from dnamamba.errors import UserError
from dnamamba.hub import is_name
from dnamamba.models import ModelConfig
from dnamamba.planning.plan import Plan, plan_run
from dnamamba.planning.show import show_plan
from dnamamba.terminal import Console
from dnamamba.training.config import FinetuneTrainConfig, TrainConfig, TrainerConfig
from dnamamba.training.finetuning import pretrained_model
from dnamamba.training.pretraining import fitting_model
from dnamamba.weights import is_released

SEGMENTS = 34021
"""Training segments of 2^17 bases of the paper's interval file."""


@dataclass(frozen=True)
class PlanConfig:
    """The `plan` group; conf/plan.yaml explains each key."""

    device: str | None = None
    json: bool = False
    training_segments: int | None = None


def plan_pretraining(cfg: DictConfig) -> Plan:
    """Plan a pretraining run, reading no more of its genome than an index or an interval file.

    Args:
        cfg: conf/plan.yaml, composed. An interval file that is not there yet is planned without.

    Raises:
        UserError: the settings do not go together, or an epoch's length is not known without the genome.
    """
    check_groups(cfg, (*pretrain.GROUPS, "plan"), pretrain.OTHERS)
    options = typed(cfg.plan, PlanConfig, "plan")
    pretrain.objective_of(cfg)
    cfg = cfg.copy()
    for key in _files(cfg.data):
        if OmegaConf.is_missing(cfg.data, key):
            cfg.data[key] = f"({key} not given)"
    data = data_config(cfg.data)
    intervals = getattr(data, "intervals", None)
    absent = intervals is not None and not Path(intervals).expanduser().is_file()
    if options.training_segments is not None and not absent:
        raise UserError(
            f"plan.training_segments: has no effect without data.intervals=FILE that is not there yet (got "
            f"{options.training_segments}); leave it out"
        )
    model = fitting_model(model_config(cfg.model, data.alphabet), data.alphabet)
    return plan_run(
        data,
        model,
        typed(cfg.train, TrainConfig, "train"),
        processes_of(cfg.trainer),
        context_size=int(cfg.trainer.get("context_size", 1)),
        shared_weights=cfg.trainer.get("strategy") == "fsdp",
        device=options.device,
        on_cpu=cfg.trainer.accelerator == "cpu",
        training_segments=SEGMENTS if options.training_segments is None else options.training_segments,
    )


def print_plan(cfg: DictConfig) -> None:
    """Print `plan_pretraining` as a table, or as JSON."""
    made = plan_pretraining(cfg)
    if cfg.plan.json:
        print(json.dumps(made.to_dict(), indent=2))
    else:
        console = Console()
        show_plan(made, console)
        _say_absent(cfg.data, console)
        print_published()


def _say_absent(group: DictConfig, console: Console) -> None:
    """Name the files of a data set that are not there: another one may be meant."""
    for key in _files(group):
        path = None if OmegaConf.is_missing(group, key) else group.get(key)
        if isinstance(path, str) and not Path(path).expanduser().exists():
            console.print(f"data.{key}={path} is not there: planned without it", soft_wrap=True)


def _files(group: DictConfig) -> tuple[str, ...]:
    """Return the keys of a data set's files, which a plan can do without."""
    settings = settings_class(group)
    return () if settings is None else settings.paths


def plan_finetuning(cfg: DictConfig) -> Plan:
    """Plan a fine-tuning run, reading only the settings of the data and the shape of the model.

    Args:
        cfg: conf/finetune.yaml, composed.

    Raises:
        UserError: the settings do not go together, or say too little of the sequences' length.
    """
    cfg = cfg.copy()
    species = cfg.data.get("species")
    if species is not None and not any(species.values()):
        cfg.data.species = dict.fromkeys(species, "(not given)")
    if absent_model(cfg):
        cfg.model = finetune.SCRATCH
    data = data_config(cfg.data)
    model = finetune.model_of(cfg.model, cfg.scratch, data.alphabet)
    shape = model if isinstance(model, ModelConfig) else pretrained_model(model, data.alphabet)[1]
    data = replace(data, alphabet=shape.alphabet)  # type: ignore[type-var]
    train = typed(cfg.train, FinetuneTrainConfig, "train")
    on_cpu = cfg.trainer.accelerator == "cpu"
    passes = 2 if cfg.decoder.context == "both" else 1
    return plan_run(data, shape, train, processes_of(cfg.trainer), passes=passes, on_cpu=on_cpu)


def absent_model(cfg: DictConfig) -> bool:
    """Return whether a fine-tuning's model is missing, such as one to be pretrained first."""
    path = cfg.model
    if not isinstance(path, str) or path == finetune.SCRATCH:
        return False
    if is_released(path) or is_name(path):
        return False
    return not Path(path).expanduser().exists()


def print_finetuning_plan(cfg: DictConfig) -> None:
    """Print `plan_finetuning` as a table."""
    console = Console()
    show_plan(plan_finetuning(cfg), console)
    _say_absent(cfg.data, console)
    if cfg.train.max_steps == AUTO:
        console.print(
            "train.max_steps=auto: the number of training sequences says how many steps the run has; this is "
            "the plan of 400",
            soft_wrap=True,
        )
    if absent_model(cfg):
        shape = ", ".join(f"{key}={value}" for key, value in cfg.scratch.items())
        console.print(
            f"model={cfg.model} is not there: planned with the shape of `scratch`, {shape}", soft_wrap=True
        )
    for line in _not_counted(cfg.decoder):
        console.print(line, soft_wrap=True)
    print_published()
    if cfg.task.fit == "closed":
        console.print(
            "these are the memory and time of gradient training: task.fit=closed reads the same batches "
            "forward only, which takes less of both",
            soft_wrap=True,
        )


def _not_counted(decoder: DictConfig) -> list[str]:
    """Say how often each base is read, where that is not once, and what of the head a plan leaves out."""
    lines = []
    if decoder.context == "both":
        lines.append("decoder.context=both: memory and time are those of two passes, one for each strand")
    elif decoder.context == AUTO:
        lines.append(
            "decoder.context=auto: planned with one pass; both, if it is chosen, takes up to twice of each"
        )
    convolutions = (
        ", nor the hidden states of its convolutions (decoder.conv)" if decoder.conv not in (0, AUTO) else ""
    )
    lines.append(f"the head's weights are not counted{convolutions}")
    return lines


def processes_of(trainer: DictConfig) -> int:
    """Count the GPUs of a run on all machines together.

    Raises:
        UserError: the `trainer` group leaves their number to be found out.
    """
    for key in ("devices", "num_nodes"):
        if type(trainer[key]) is not int or trainer[key] < 1:
            raise UserError(
                f"trainer.{key}: must be a number of at least 1 to plan with (got {trainer[key]!r})"
            )
    return typed(trainer, TrainerConfig, "trainer").processes
