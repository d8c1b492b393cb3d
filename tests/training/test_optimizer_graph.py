"""A whole optimiser step over fixed buffers: on a CPU as a tape of operations, on a GPU as a CUDA graph."""

from collections.abc import Iterable
from typing import Any

import pytest
import torch
from torch import Tensor

from dnamamba.models import LanguageModel, MambaConfig
from dnamamba.objectives.answers import Answers
from dnamamba.training.optim import Schedule, adamw
from dnamamba.training.optimizer_graph import OptimizerGraph

from .taped import Taped

SCHEDULE = Schedule(7, learning_rate=0.02, final_learning_rate=0.001, warmup_fraction=0.3)


def model_of_symbols() -> LanguageModel:
    torch.manual_seed(0)
    return LanguageModel(
        MambaConfig(d_model=8, n_layer=1, alphabet="symbols", vocab_size=16), "chunked"
    ).double()


def optimizer_of(model: LanguageModel) -> torch.optim.AdamW:
    return adamw(model, SCHEDULE, weight_decay=0.1, betas=(0.9, 0.99))


def batches(steps: int) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(1)
    made = torch.randint(0, 16, (steps, 3, 14), generator=random, dtype=torch.uint8)
    return {"tokens": made[..., :12], "answers": made[..., 12:]}


def loss_of(model: LanguageModel) -> Any:
    objective = Answers(model.config)

    def loss(batch: dict[str, Tensor]) -> Tensor:
        return objective.loss_sum(model, batch) / batch["answers"].numel()

    return loss


def rates_of(steps: Iterable[int]) -> Tensor:
    return torch.tensor([SCHEDULE(step) for step in steps])


def plain_steps(model: LanguageModel, steps: int) -> list[float]:
    optimizer, losses = optimizer_of(model), []
    given = batches(steps)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rates_of([step]).item()
        optimizer.zero_grad()
        loss = loss_of(model)({name: tensor[step] for name, tensor in given.items()})
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("cuts", [(7,), (3, 3, 1), (1, 2, 3, 1)])
def test_replayed_steps_equal_plain_ones(cuts: tuple[int, ...]) -> None:
    wanted = model_of_symbols()
    losses = plain_steps(wanted, 7)

    model, taped, given = model_of_symbols(), Taped(), batches(7)
    most = {name: tensor[: max(cuts)] for name, tensor in given.items()}
    steps = OptimizerGraph(model, optimizer_of(model), loss_of(model), most, 0.5, taped)
    found, first = [], 0
    for size in cuts:
        part = {name: tensor[first : first + size] for name, tensor in given.items()}
        found += steps(part, rates_of(range(first, first + size))).tolist()
        first += size
    assert (taped.captures, taped.replays) == (1, 7)
    torch.testing.assert_close(torch.tensor(found), torch.tensor(losses), rtol=1e-6, atol=0)
    for (name, ours), theirs in zip(model.named_parameters(), wanted.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12, msg=name)


@pytest.mark.gpu
def test_steps_of_a_cuda_graph_equal_plain_ones() -> None:
    wanted = LanguageModel(MambaConfig(d_model=64, n_layer=2, alphabet="symbols", vocab_size=16)).cuda()
    model = LanguageModel(wanted.config).cuda()
    model.load_state_dict(wanted.state_dict())
    given = {name: tensor.cuda() for name, tensor in batches(7).items()}
    optimizer, losses = optimizer_of(wanted), []
    for step in range(7):
        for group in optimizer.param_groups:
            group["lr"] = rates_of([step]).item()
        optimizer.zero_grad()
        loss = loss_of(wanted)({name: tensor[step] for name, tensor in given.items()})
        loss.backward()
        torch.nn.utils.clip_grad_norm_(wanted.parameters(), 0.5)
        optimizer.step()
        losses.append(loss.item())
    steps = OptimizerGraph(model, optimizer_of(model), loss_of(model), given, 0.5)
    found = steps(given, rates_of(range(7)).cuda())
    torch.testing.assert_close(found.cpu(), torch.tensor(losses), rtol=1e-3, atol=1e-3)


def test_capture_leaves_weights_and_optimizer_as_they_were() -> None:
    model = model_of_symbols()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    optimizer = optimizer_of(model)
    OptimizerGraph(model, optimizer, loss_of(model), batches(2), None, Taped())
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    state = optimizer.state_dict()["state"]
    assert all(not tensor.any() for values in state.values() for tensor in values.values())

    plain_steps(model, 1)  # and of a state that is there
    optimizer = optimizer_of(model)
    loss_of(model)({name: tensor[0] for name, tensor in batches(1).items()}).backward()
    optimizer.step()
    kept = {key: value.clone() for key, value in optimizer.state_dict()["state"][0].items()}
    OptimizerGraph(model, optimizer, loss_of(model), batches(2), None, Taped())
    for key, value in optimizer.state_dict()["state"][0].items():
        assert torch.equal(value, kept[key]), key
