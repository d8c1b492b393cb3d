"""What a fine-tuning run will do, before it does it: `python -m dnamamba.finetune mode=plan`."""

from omegaconf import DictConfig
from rich.console import Console

from dnamamba.config import typed
from dnamamba.data.length_schedule import sequence_schedule
from dnamamba.datasets.species.config import SpeciesConfig
from dnamamba.errors import UserError
from dnamamba.planning.pretraining import Plan, plan_on, processes_of, show_plan
from dnamamba.training.finetuning import data_config, pretrained_model
from dnamamba.training.trainer import TrainConfig


def plan_finetuning(cfg: DictConfig) -> Plan:
    """The plan of a fine-tuning run; of the data only the settings are read, of the model its shape.

    Memory and time are those of a pretraining step over as many bases, which sweeps the same blocks.

    Args:
        cfg: conf/finetune/finetune.yaml, composed.

    Raises:
        UserError: the settings do not go together, or say too little of the sequences' length.
    """
    train = typed(cfg.train, TrainConfig, "train")
    _, config = data_config(cfg.data)
    _, shape = pretrained_model(cfg, config.alphabet)
    processes = processes_of(cfg.trainer)
    if config.max_length is None:
        raise UserError("data.max_length must be a number to plan with: how long may a sequence be?")
    if isinstance(config, SpeciesConfig):
        schedule = config.schedule(
            global_batch_size=train.global_batch_size, max_steps=train.steps, world_size=processes
        )
    else:
        schedule = sequence_schedule(
            [config.max_length],
            sequences=train.global_batch_size,
            steps=train.steps,
            max_steps=train.steps,
        )
    return plan_on(
        None,
        schedule.stages,
        shape,
        train,
        bases_at_a_time=config.batch_size * config.max_length,
        processes=processes,
    )


def print_finetuning_plan(cfg: DictConfig) -> None:
    """Print `plan_finetuning` as a table."""
    console = Console(markup=False, emoji=False)
    show_plan(plan_finetuning(cfg), console)
    if cfg.task.fit == "closed":
        console.print(
            "these are the memory and time of gradient training: task.fit=closed reads the same batches "
            "forward only, which takes less of both",
            soft_wrap=True,
        )
