"""The table as a benchmark."""

import torch
from user_table import TableConfig

from dnamamba.suite import Row, Suite
from dnamamba.training.config import FinetuneTrainConfig


class TableSuite(Suite):
    name = "table"
    metric = "accuracy"
    protocols = ("zero_shot", "probe", "finetune")
    needs = ()
    bootstrap = 50
    linear = False
    train = FinetuneTrainConfig(max_steps=4, global_batch_size=4, validate_every=4, checkpoint_every=4)

    def data(self):
        return TableConfig("table.csv", 24, batch_size=4)

    def zero_shot(self, model, seed):
        tokens = torch.zeros(1, 24, dtype=torch.uint8)
        finite = bool(torch.isfinite(model(tokens).logits).all())
        return Row("zero_shot", "", self.metric, float(finite), 0.0, 1.0, 1)
