"""The trainer that a configuration builds: devices, processes in a cluster, and what is refused."""

from collections.abc import Callable
from pathlib import Path

import lightning
import pytest
import torch
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig

from dnamamba import UserError
from dnamamba.config import typed
from dnamamba.training.config import TrainConfig, TrainerConfig
from dnamamba.training.trainer import build_trainer


def trainer_of(cfg: DictConfig, folder: Path) -> lightning.Trainer:
    train = typed(cfg.train, TrainConfig, "train")
    return build_trainer(typed(cfg.trainer, TrainerConfig, "trainer"), train, folder)


def test_the_cpu_trainer_builds(configure: Callable[..., DictConfig], tmp_path: Path) -> None:
    cfg = configure("train.global_batch_size=64", "train.validate_every=7")
    trainer = trainer_of(cfg, tmp_path)
    assert trainer.accumulate_grad_batches == 1
    assert trainer.val_check_interval == 7
    assert trainer.max_steps == 600


@pytest.mark.skipif(torch.cuda.is_available(), reason="a machine with a GPU has nothing to complain about")
def test_gpu_that_is_not_there_is_one_line(configure: Callable[..., DictConfig], tmp_path: Path) -> None:
    cfg = configure("trainer=gpu")
    with pytest.raises(UserError, match=r"^trainer.accelerator: there is no CUDA GPU here") as error:
        trainer_of(cfg, tmp_path)
    assert "\n" not in str(error.value)


def test_deterministic_runs_do_not_fill_memory(
    configure: Callable[..., DictConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    cfg = configure("trainer.deterministic=true")
    try:
        trainer_of(cfg, tmp_path)
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.utils.deterministic.fill_uninitialized_memory
    finally:
        torch.use_deterministic_algorithms(False)


SBATCH = {"SLURM_JOB_ID": "4711", "SLURM_JOB_NAME": "train", "SLURM_NTASKS": "2", "SLURM_NNODES": "1"} | {
    f"SLURM_{name}": "0" for name in ("NODEID", "PROCID", "LOCALID")
}
PER_NODE = {"SLURM_NTASKS_PER_NODE": "2"}
TORCHRUN = {"TORCHELASTIC_RUN_ID": "a", "RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "GROUP_RANK": "0"}
SRUN = {"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1", "SLURM_LOCALID": "1"}


@pytest.mark.parametrize(
    ("job", "devices", "expected"),
    [
        (SBATCH, 1, ("LightningEnvironment", 1, 0)),
        (SBATCH | PER_NODE, 1, ("LightningEnvironment", 1, 0)),
        (SBATCH | PER_NODE, 2, ("LightningEnvironment", 2, 0)),
        (SBATCH | PER_NODE | SRUN, 2, ("SLURMEnvironment", 2, 1)),
        (SBATCH | PER_NODE | SRUN | {"SLURM_JOB_NAME": "interactive"}, 2, ("SLURMEnvironment", 2, 1)),
        (SBATCH | PER_NODE | TORCHRUN, 2, ("TorchElasticEnvironment", 2, 1)),
    ],
    ids=["cores as tasks", "no srun", "no srun, two devices", "srun", "srun within salloc", "torchrun"],
)
def test_processes_in_slurm_are_those_srun_started(
    configure: Callable[..., DictConfig],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    job: dict[str, str],
    devices: int,
    expected: tuple[str, int, int],
) -> None:
    """Tasks that the job only asked for are nobody to wait for."""
    # Lightning tells its own parts which process this is, for good.
    monkeypatch.setattr(rank_zero_only, "rank", 0)
    for name, value in job.items():
        monkeypatch.setenv(name, value)
    cfg = configure("trainer.strategy=ddp", f"trainer.devices={devices}")
    trainer = trainer_of(cfg, tmp_path)
    environment = trainer.strategy.cluster_environment
    assert (type(environment).__name__, trainer.world_size, trainer.global_rank) == expected


@pytest.mark.parametrize(
    ("job", "devices", "nodes", "message"),
    [
        (
            SBATCH | SRUN,
            2,
            1,
            "SLURM was given --ntasks=2 alone; for trainer.num_nodes=1 and trainer.devices=2 give it "
            "--nodes=1 --ntasks-per-node=2 instead",
        ),
        (
            SBATCH | PER_NODE,
            2,
            2,
            "trainer.num_nodes=2 in a SLURM job: start it by srun --nodes=2 --ntasks-per-node=2",
        ),
        (SBATCH | PER_NODE | SRUN, 3, 1, "trainer: You set `devices=3` in Lightning, but"),
        (TORCHRUN, 3, 1, "trainer: You set `devices=3` and `num_nodes=1` in Lightning, but"),
        (TORCHRUN, 1, 1, "trainer.devices=1 is a run of one process, and 2 were started"),
    ],
    ids=["--ntasks alone", "two nodes without srun", "srun", "torchrun", "one device"],
)
def test_other_processes_than_run_has_are_one_line(
    configure: Callable[..., DictConfig],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    job: dict[str, str],
    devices: int,
    nodes: int,
    message: str,
) -> None:
    monkeypatch.setattr(rank_zero_only, "rank", 0)
    for name, value in job.items():
        monkeypatch.setenv(name, value)
    strategy = "auto" if devices == 1 else "ddp"
    cfg = configure(
        f"trainer.strategy={strategy}", f"trainer.devices={devices}", f"trainer.num_nodes={nodes}"
    )
    with pytest.raises(UserError) as error:
        trainer_of(cfg, tmp_path)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_cluster_does_not_ask_every_run_for_srun(
    configure: Callable[..., DictConfig],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    recwarn: pytest.WarningsRecorder,
) -> None:
    (tmp_path / "srun").write_text("#!/bin/sh\n")
    (tmp_path / "srun").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    cfg = configure()
    trainer_of(cfg, tmp_path)
    assert not [str(warning.message) for warning in recwarn]
