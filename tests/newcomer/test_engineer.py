"""An engineer's goals, by documented commands only: own configuration, resuming, plans, a cluster's files."""

import json
from pathlib import Path

from dnamamba.reports.figures import read_metrics
from tests.newcomer.conftest import Shell

MINE = """# @package _global_
data:
  fasta: genome.fa.gz
  valid: Chr2
  test: Chr3
  max_length: 32
  batch_size: 4
  valid_windows: 8
  markov_orders: []
model:
  d_model: 16
  n_layer: 1
train:
  max_steps: 2
  global_batch_size: 8
  validate_every: 2
  log_every: 1
callbacks:
  rate:
    _target_: lightning.pytorch.callbacks.LearningRateMonitor
"""


def test_a_run_of_own_configuration_is_resumed_by_its_folder(shell: Shell, folder: Path) -> None:
    (folder / "conf" / "experiment").mkdir(parents=True)
    (folder / "conf" / "experiment" / "mine.yaml").write_text(MINE)
    status, _, err = shell("pretrain --config-dir conf experiment=mine hydra.run.dir=first")
    assert status == 0, err
    logged = read_metrics(folder / "first" / "metrics.csv")
    assert any("lr-AdamW" in row or any(key.startswith("lr") for key in row) for row in logged)
    status, _, err = shell("pretrain ckpt_path=first train.max_steps=3 hydra.run.dir=second")
    own = "dnamamba: resuming with the configuration of first/config.yaml"
    assert (status, err) == (0, f"{own}, but train.max_steps=3 instead of 2\n")
    assert json.loads((folder / "second" / "results.json").read_text())["steps"] == 3
    losses = [row for row in read_metrics(folder / "second" / "metrics.csv") if "train/loss" in row]
    assert len(losses) == 3


def test_a_plan_needs_neither_gpu_nor_genomes(shell: Shell) -> None:
    status, out, err = shell("finetune mode=plan experiment=apes/2p20_1m4")
    assert status == 0, err
    assert "10,240 steps" in out
    status, out, err = shell("plan trainer=cpu")
    assert status == 0, err
    assert "estimated on 1 x CPU" in out


def test_what_to_bring_to_a_cluster_is_listed(shell: Shell) -> None:
    status, out, err = shell("prepare human --list --out scratch")
    assert (status, err) == (0, "")
    assert "scratch/human/GCA_009914755.4_T2T-CHM13v2.0_genomic.fna.gz" in out
    assert "size      932,696,125 bytes" in out
