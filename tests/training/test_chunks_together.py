"""Training by chunks on two processes: gradients are exchanged once a step."""

import os
from contextlib import contextmanager
from pathlib import Path

import torch
from lightning.pytorch.overrides.distributed import prepare_for_backward
from torch import Tensor, nn

from dnamamba.models import MambaBackbone
from dnamamba.models.chunk_pooling import PoolingWeights, pooled
from dnamamba.objectives.base import Chunks
from dnamamba.training.chunk_graphs import ChunkGraphs
from dnamamba.training.chunks import chunked_backward
from tests import processes

from .taped import Taped
from .test_chunks import (
    CONFIG,
    LENGTH,
    check_equal,
    gradients_of,
    language_model,
    next_base,
    whole_step,
    windows,
)


@contextmanager
def process_group(rank: int, folder: str):
    torch.set_num_threads(1)
    store = torch.distributed.FileStore(os.path.join(folder, "store"), 2)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=2)
    try:
        yield
    finally:
        torch.distributed.destroy_process_group()


def counted_sum(buckets: list[int], bucket: torch.distributed.GradBucket) -> torch.futures.Future[Tensor]:
    """A communication hook of DistributedDataParallel: sums, and notes the size of each bucket."""
    buckets.append(bucket.buffer().numel())
    work = torch.distributed.all_reduce(bucket.buffer(), async_op=True)
    assert work is not None
    return work.get_future().then(lambda future: future.value()[0])


class Classifier(nn.Module):
    """A backbone with a head that it does not call itself."""

    def __init__(self, backbone: MambaBackbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(CONFIG.d_model, 2).double()

    def forward(self, tokens: Tensor, state: object = None) -> tuple[Tensor, object]:
        return self.backbone(tokens, state)


def by_graphs(parallel: nn.parallel.DistributedDataParallel, tokens: Tensor) -> None:
    """The next-base loss again, by what stands for CUDA graphs: they read past the wrapper, as runs do."""

    def backward(loss: Tensor) -> None:
        prepare_for_backward(parallel, loss)
        loss.backward()

    targets = tokens[:, 1:]
    chunks = Chunks(parallel.module, tokens[:, :-1], lambda span: targets[:, span], next_base)
    ChunkGraphs(40, Taped())(chunks, backward=backward, no_sync=parallel.no_sync)


def data_parallel(rank: int, folder: str) -> None:
    """Take two steps of a next-base loss and of a head on the last position, with other rows per rank."""
    with process_group(rank, folder):
        tokens = windows()
        known, lengths = torch.zeros(3, 150, dtype=torch.uint8), torch.tensor([150, 97, 2])
        rows = [slice(0, 1), slice(1, 3)][rank]
        for model, pooling in ((language_model(), False), (Classifier(language_model().backbone), True)):
            torch.manual_seed(2)
            parallel = nn.parallel.DistributedDataParallel(model)
            buckets: list[int] = []
            parallel.register_comm_hook(buckets, counted_sum)
            for step in range(1, 3):
                if pooling:
                    weights = PoolingWeights("last", known[rows], lengths[rows])
                    chunked_backward(
                        parallel, tokens[rows, :-1], 40, weights, pooled,
                        lambda vector, model=model: model.head(vector).square().sum(),
                        no_sync=parallel.no_sync,
                    )  # fmt: skip
                else:
                    targets = tokens[rows, 1:]
                    chunked_backward(
                        parallel, tokens[rows, :-1], 40, lambda span, t=targets: t[:, span], next_base,
                        no_sync=parallel.no_sync,
                    )  # fmt: skip
                assert sum(buckets) == step * sum(p.numel() for p in model.parameters())
                found = gradients_of(model)
            if pooling:
                weights = PoolingWeights("last", known, lengths)
                vector = pooled(model(tokens[:, :-1])[0], weights(slice(0, LENGTH)))
                model.head(vector).square().sum().backward()
                check_equal(found, gradients_of(model), 1e-12)
            else:
                by_graphs(parallel, tokens[rows])
                assert sum(buckets) == 3 * sum(p.numel() for p in model.parameters())
                check_equal(gradients_of(model), found, 1e-12)
                check_equal(found, whole_step(model, tokens)[1], 1e-12)


def test_two_processes_exchange_gradients_once_a_step(tmp_path: Path) -> None:
    program = f"import sys, {__name__} as here; here.data_parallel(int(sys.argv[1]), sys.argv[2])"
    started = [processes.Command("-c", program, str(rank), str(tmp_path)) for rank in range(2)]
    for command in started:
        _, errors = command.communicate()
        assert command.returncode == 0, errors
