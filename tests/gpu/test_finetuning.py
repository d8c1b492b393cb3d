"""Fine-tuning on a GPU with what the data decide."""

from pathlib import Path

import pytest

from dnamamba import FinetuneTrainConfig, Finetuning, LabelledConfig, MambaConfig
from dnamamba.objectives.task_config import TaskConfig
from dnamamba.training.config import TrainerConfig
from tests.finetuning.test_baselines import aligned

pytestmark = pytest.mark.gpu


def test_positions_that_data_decide_on_are_learnt(tmp_path: Path) -> None:
    """Sequences of one length are read as CUDA graphs where the pooling is a mean, which this one is not."""
    result = Finetuning(
        tmp_path / "run",
        LabelledConfig(table=str(aligned(tmp_path / "t.csv")), batch_size=8),
        MambaConfig(d_model=8, n_layer=1),
        task=TaskConfig(bootstrap=2),
        train=FinetuneTrainConfig(
            max_steps=40, global_batch_size=8, learning_rate=2e-2, validate_every=40, checkpoint_every=40
        ),
        trainer=TrainerConfig(accelerator="cuda", precision="bf16-mixed"),
        quiet=True,
    ).run()
    assert result is not None
    assert result.model.decoder.mode == "positions"
    assert result.results["test"]["accuracy"]["value"] > 0.85
