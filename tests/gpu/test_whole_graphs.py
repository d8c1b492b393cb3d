"""Whole micro-batches as CUDA graphs: `pytest -m gpu`."""

from typing import Any

import pytest
import torch

from dnamamba.models import DecoderConfig, MambaConfig, SequenceModel
from dnamamba.objectives.sequence import SequenceObjective
from dnamamba.objectives.task_config import TaskConfig
from dnamamba.training.whole_graphs import WholeGraphs

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize(
    "reader",
    [
        {"mode": "mean"},
        {"mode": "positions", "context": "both", "conv": 2, "length": 300},
        {"mode": "attention", "context": "both"},
    ],
    ids=lambda reader: reader["mode"],
)
@pytest.mark.parametrize("half", [False, True], ids=["float32", "bf16"])
def test_gradients_are_those_of_launches(reader: dict[str, Any], half: bool) -> None:
    torch.manual_seed(0)
    decoder = DecoderConfig("classification", ("a", "b"), **reader)
    model = SequenceModel(MambaConfig(d_model=64, n_layer=3), decoder).cuda().train()
    objective = SequenceObjective(decoder, TaskConfig(), None, "right")
    own, targets = list(model.parameters()), torch.tensor(32.0, device="cuda")
    graphs = WholeGraphs(lambda part: objective.loss_sum(model, part), own)
    with torch.autocast("cuda", torch.bfloat16, enabled=half):
        for seed in range(3):
            torch.manual_seed(seed)
            part = {
                "tokens": torch.randint(0, 5, (32, 304), dtype=torch.uint8, device="cuda"),
                "lengths": torch.full((32,), 300, device="cuda"),
                "labels": torch.randint(0, 2, (32,), device="cuda"),
                "index": torch.arange(32, device="cuda"),
            }
            with torch.no_grad():  # a step of an optimiser between two uses
                for parameter in own:
                    parameter.add_(1e-3 * torch.randn_like(parameter))
            model.zero_grad()
            loss = objective.loss_sum(model, part) / targets
            with torch.autocast("cuda", enabled=False):
                loss.backward()
            expected = [parameter.grad for parameter in own]
            model.zero_grad()
            found = graphs(part, targets, torch.Tensor.backward)
            torch.testing.assert_close(found, loss.detach(), rtol=1e-5, atol=1e-6)
            for parameter, gradient in zip(own, expected, strict=True):
                # The same kernels; some add up in an order that differs from run to run.
                assert (parameter.grad - gradient).norm() <= (1e-2 if half else 1e-4) * gradient.norm()
