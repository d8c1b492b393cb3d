"""A model whose sequence lies on two and on eight processes (gloo, CPU), against one process in float64."""

import os
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from torch import Tensor

from dnamamba.kernels.ranks import Ranks
from dnamamba.models import LanguageModel, MambaConfig
from dnamamba.training.lost import lost_by


def cases(size: int) -> list[tuple[bool, int, int]]:
    """With activations computed again or not, rows and bases of sequences for as many processes."""
    sizes = {2: [(1, 6), (2, 34), (1, 130)], 8: [(2, 8), (1, 136)]}[size]
    return [(checkpointing, *each) for checkpointing in (False, True) for each in sizes]


def whole(checkpointing: bool = False) -> LanguageModel:
    torch.manual_seed(0)
    model = LanguageModel(MambaConfig(d_model=8, n_layer=2, d_state=4)).double()
    model.backbone.activation_checkpointing = checkpointing
    return model


def sequences(rows: int, length: int) -> Tensor:
    draw = torch.Generator().manual_seed(rows + length)
    return torch.randint(0, 4, (rows, length + 1), generator=draw, dtype=torch.uint8)


def spread(rank: int, size: int, folder: Path) -> None:
    """One process: everything that the tests below look at, in one file."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=size)
    found = {}
    for checkpointing, rows, length in cases(size):
        model = whole(checkpointing)
        model.backbone.ranks = Ranks(dist.group.WORLD)
        part = length // size
        tokens = sequences(rows, length)[:, rank * part : (rank + 1) * part + 1]
        found[checkpointing, rows, length] = one_read(model, tokens)
    torch.save(found, folder / f"{rank}.pt")
    dist.barrier()
    if rank == size - 1:
        os._exit(0)  # dies, while the others read a sequence with it
    try:
        one_read(model, tokens)
    except RuntimeError as error:
        (folder / f"{rank}.lost").write_text(lost_by(error) or f"not known as lost: {error}")
    os._exit(0)


def one_read(model: LanguageModel, tokens: Tensor) -> tuple[Tensor, list[Tensor]]:
    logits, _ = model(tokens[:, :-1])
    loss = F.cross_entropy(logits.mT, tokens[:, 1:].long(), reduction="sum")
    return loss.detach(), list(torch.autograd.grad(loss, list(model.parameters())))


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # of fork, from Python 3.12 on
@pytest.mark.parametrize("size", [2, 8])
def test_losses_and_gradients_equal_those_of_one_process(size: int, tmp_path: Path) -> None:
    """And in the end one process dies: each of the others knows why it can't go on."""
    # Before the fork, so that what is imported on the way is imported once.
    expected = {case: one_read(whole(case[0]), sequences(*case[1:])) for case in cases(size)}
    mp.start_processes(spread, (size, tmp_path), nprocs=size, start_method="fork")
    parts = [torch.load(tmp_path / f"{rank}.pt") for rank in range(size)]
    for case, (loss, gradients) in expected.items():
        ours = [part[case] for part in parts]
        assert sum(part[0] for part in ours) == pytest.approx(float(loss), rel=1e-13)
        for i, gradient in enumerate(gradients):
            found = sum(part[1][i] for part in ours)
            assert (found - gradient).norm() <= 1e-12 * gradient.norm(), (case, i)
    for rank in range(size - 1):
        assert (tmp_path / f"{rank}.lost").read_text() in (
            "Connection closed by peer",
            "Connection reset by peer",
        )
