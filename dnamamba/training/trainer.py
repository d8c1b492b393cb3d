"""Lightning's trainer, as a configuration asks for it and no noisier than it need be."""

import logging
import os
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import lightning
import torch
from lightning.fabric.plugins.environments import (
    ClusterEnvironment,
    LightningEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies import ModelParallelStrategy
from lightning.pytorch.strategies.launchers import _MultiProcessingLauncher

from dnamamba.errors import UserError
from dnamamba.processes import processes_started
from dnamamba.training.checkpointing import AtomicCheckpointIO
from dnamamba.training.config import TrainConfig, TrainerConfig
from dnamamba.training.metrics_file import MetricsFile


def build_trainer(
    config: TrainerConfig,
    train: TrainConfig,
    folder: Path,
    loggers: Sequence[Logger] = (),
    callbacks: Sequence[lightning.Callback] = (),
) -> lightning.Trainer:
    """Return the trainer of a run in `folder`; one of its batches is an optimiser step.

    Args:
        config: the `trainer` group.
        train: the `train` group.
        folder: takes metrics.csv, which every run writes.
        loggers: further ones.
        callbacks: the user's own.

    Raises:
        UserError: a number is out of range, the device asked for is not there, or the run has other processes
            than were started.
    """
    _quieten()
    if config.accelerator in ("cuda", "gpu") and not torch.cuda.is_available():
        raise UserError(
            "trainer.accelerator: there is no CUDA GPU here that torch can use; choose trainer=cpu"
        )
    if config.accelerator == "mps" and not torch.backends.mps.is_available():
        raise UserError(
            "trainer.accelerator: there is no Apple GPU here that torch can use; choose trainer=cpu"
        )
    arguments = asdict(config)
    del arguments["context_size"]  # ours, see `training/context.py`
    if config.strategy == "fsdp":
        # Lightning's own of that name is FSDP1, which wants the backward pass outside the training step.
        arguments["strategy"] = ModelParallelStrategy(config.processes, 1, save_distributed_checkpoint=False)
    starter = _starter(config)
    try:
        trainer = lightning.Trainer(
            **arguments,
            logger=[MetricsFile(folder), *loggers],
            callbacks=list(callbacks),
            plugins=[AtomicCheckpointIO(), *starter],
            default_root_dir=folder,
            max_epochs=-1,
            max_steps=-1 if train.max_steps is None else train.max_steps,
            val_check_interval=train.validate_every,
            log_every_n_steps=train.log_every,
            check_val_every_n_epoch=None,
            num_sanity_val_steps=0,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
        if environment := getattr(trainer.strategy, "cluster_environment", None):
            # As the start of the run would, with a traceback then.
            environment.validate_settings(trainer.num_devices, trainer.num_nodes)
    except Exception as error:  # Lightning and what it imports raise many types for what is not there
        raise UserError(f"trainer: {' '.join(str(error).split())}") from error
    if isinstance(trainer.strategy.launcher, _MultiProcessingLauncher):
        raise UserError(
            f"trainer.strategy={config.strategy} trains in forked or spawned processes, which give no model "
            "back; choose auto, ddp or fsdp"
        )
    if config.deterministic:
        # Equal bits need no new memory filled with NaN, which torch does then and which takes time; no kernel
        # reads what was not written, and their tests keep the filling.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    started = processes_started()
    if started > 1 and trainer.world_size == 1:
        raise UserError(f"trainer.devices=1 is a run of one process, and {started} were started")
    half = config.precision.startswith("bf16")
    on_gpu = trainer.strategy.root_device.type == "cuda"
    if half and on_gpu and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise UserError(
            "trainer.precision=bf16-mixed: this GPU has no bfloat16; use trainer.precision=32-true"
        )
    return trainer


def _starter(trainer: TrainerConfig) -> list[ClusterEnvironment]:
    """Return what starts the processes in a SLURM job; elsewhere Lightning finds out by itself.

    It goes by the tasks that the job asked for: without srun, it would wait for them forever. And in a job
    called `bash` or `interactive`, as salloc's is, it would take each of srun's processes for another run.

    Raises:
        UserError: srun is missing, or does not say how many processes a machine has.
    """
    if "SLURM_JOB_ID" not in os.environ or TorchElasticEnvironment.detect():
        return []
    tasks = int(os.environ.get("SLURM_STEP_NUM_TASKS", 1))
    if tasks == 1 and trainer.num_nodes == 1:
        return [LightningEnvironment()]
    options = f"--nodes={trainer.num_nodes} --ntasks-per-node={trainer.devices}"
    if tasks == 1:
        raise UserError(f"trainer.num_nodes={trainer.num_nodes} in a SLURM job: start it by srun {options}")
    if "SLURM_NTASKS_PER_NODE" not in os.environ:
        raise UserError(
            f"SLURM was given --ntasks={tasks} alone; for trainer.num_nodes={trainer.num_nodes} and "
            f"trainer.devices={trainer.devices} give it {options} instead"
        )
    return [SLURMEnvironment()]


def _quieten() -> None:
    """Keep Lightning's advice about its own products and about loaders of other shapes off the screen."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # Which process that Lightning started has died, for whom it kills all others.
    logging.getLogger("lightning.fabric.strategies.launchers.subprocess_script").setLevel(logging.INFO)
    # On a cluster, of every run that needs no srun.
    warnings.filterwarnings("ignore", message="The `srun` command is available on your system")
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*GPU available but not used.*")
    warnings.filterwarnings("ignore", message="Experiment logs directory .* exists and is not empty")
    warnings.filterwarnings("ignore", message="Total length of `list` across ranks is zero")
    # Lightning wraps a model for several GPUs on a stream of its own, as torch's guide to DDP wants it.
    warnings.filterwarnings("ignore", message="The AccumulateGrad node's stream does not match")
    # Metrics add up what all processes counted before anything is logged.
    warnings.filterwarnings("ignore", message="It is recommended to use `self.log.*sync_dist=True")
    # Lightning 2.6 asks torch's pytree a question that torch 2.13 wants put differently.
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
