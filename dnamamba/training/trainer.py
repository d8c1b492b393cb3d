"""Lightning's trainer, as a configuration asks for it and no noisier than it need be."""

import logging
import os
import warnings
from dataclasses import dataclass
from pathlib import Path

import lightning
import torch
from hydra.utils import instantiate
from lightning.fabric.plugins.environments import (
    ClusterEnvironment,
    LightningEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)
from lightning.pytorch.strategies import ModelParallelStrategy
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig

from dnamamba.config import processes_started
from dnamamba.errors import UserError
from dnamamba.training.checkpointing import AtomicCheckpointIO
from dnamamba.training.optim import Schedule


@dataclass(frozen=True)
class TrainConfig:
    """The `train` group of a configuration; conf/train/default.yaml explains each key.

    Raises:
        UserError: a number is out of range; the message names its key.
    """

    seed: int
    max_steps: int | None
    global_batch_size: int
    learning_rate: float
    final_learning_rate: float
    warmup_fraction: float
    weight_decay: float
    betas: list[float]
    gradient_clip: float | None
    activation_checkpointing: bool
    log_every: int
    validate_every: int
    checkpoint_every: int

    def __post_init__(self) -> None:
        for key in ("max_steps", "global_batch_size", "log_every", "validate_every", "checkpoint_every"):
            if getattr(self, key) is not None and getattr(self, key) < 1:
                raise UserError(f"train.{key} must be at least 1, not {getattr(self, key)}")
        if not 0 <= self.seed < 2**32:
            raise UserError(f"train.seed must lie between 0 and 4294967295, not {self.seed}")
        if self.weight_decay < 0:
            raise UserError(f"train.weight_decay must be at least 0, not {self.weight_decay}")
        if self.gradient_clip is not None and self.gradient_clip <= 0:
            raise UserError(f"train.gradient_clip must be positive or null, not {self.gradient_clip}")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise UserError(f"train.betas must be two numbers from 0 to below 1, not {self.betas}")

    @property
    def steps(self) -> int:
        """`max_steps`, where a run has no other end.

        Raises:
            UserError: it is null.
        """
        if self.max_steps is None:
            raise UserError("train.max_steps must be a number: fine-tuning has no other end")
        return self.max_steps

    def schedule(self, max_steps: int) -> Schedule:
        """The learning rate of each step of a run of `max_steps`."""
        return Schedule(max_steps, self.learning_rate, self.final_learning_rate, self.warmup_fraction)


def build_trainer(cfg: DictConfig, train: TrainConfig, folder: Path) -> lightning.Trainer:
    """The trainer of a run in `folder`; a batch of its is an optimiser step.

    Raises:
        UserError: a number is out of range, the device asked for is not there, or the run has other processes
            than were started.
    """
    _quieten()
    if cfg.trainer.accelerator in ("cuda", "gpu") and not torch.cuda.is_available():
        raise UserError(
            "trainer.accelerator: there is no CUDA GPU here that torch can use; choose trainer=cpu"
        )
    arguments = dict(cfg.trainer)
    if arguments["strategy"] == "fsdp":
        # Lightning's own of that name is FSDP1, which wants the backward pass outside the training step.
        processes = cfg.trainer.devices * cfg.trainer.num_nodes
        arguments["strategy"] = ModelParallelStrategy(processes, 1, save_distributed_checkpoint=False)
    starter = _starter(cfg.trainer)
    try:
        trainer = lightning.Trainer(
            **arguments,
            logger=instantiate(cfg.logger, save_dir=str(folder)),
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
    except (MisconfigurationException, RuntimeError, ValueError, TypeError) as error:
        raise UserError(f"trainer: {' '.join(str(error).split())}") from error
    if cfg.trainer.deterministic:
        # Equal bits need no new memory filled with NaN, which torch does then and which takes time; no kernel
        # reads what was not written, and their tests keep the filling.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    started = processes_started()
    if started > 1 and trainer.world_size == 1:
        raise UserError(f"trainer.devices=1 is a run of one process, and {started} were started")
    half = str(cfg.trainer.precision).startswith("bf16")
    on_gpu = trainer.strategy.root_device.type == "cuda"
    if half and on_gpu and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise UserError(
            "trainer.precision=bf16-mixed: this GPU has no bfloat16; use trainer.precision=32-true"
        )
    return trainer


def _starter(trainer: DictConfig) -> list[ClusterEnvironment]:
    """Who starts the processes of a run inside a SLURM job; elsewhere Lightning finds out by itself.

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
    # On a cluster, of every run that needs no srun.
    warnings.filterwarnings("ignore", message="The `srun` command is available on your system")
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*GPU available but not used.*")
    warnings.filterwarnings("ignore", message="Experiment logs directory .* exists and is not empty")
    warnings.filterwarnings("ignore", message="Total length of `list` across ranks is zero")
    # Metrics add up what all processes counted before anything is logged.
    warnings.filterwarnings("ignore", message="It is recommended to use `self.log.*sync_dist=True")
    # Lightning 2.6 asks torch's pytree a question that torch 2.13 wants put differently.
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
