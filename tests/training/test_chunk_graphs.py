"""Both reads of a chunk over fixed buffers: on a CPU as they are, on a GPU as CUDA graphs."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnamamba.models import LanguageModel, MambaConfig
from dnamamba.models.chunk_pooling import PoolingWeights, pooled
from dnamamba.models.pooling import base_table, pool
from dnamamba.training.chunk_graphs import ChunkGraphs
from dnamamba.training.chunks import chunked_backward

from .test_chunks import PADDING, check_equal, gradients_of, language_model, next_base, whole_step, windows


def padded_targets(tokens: Tensor, chunk: int) -> Tensor:
    return F.pad(tokens[:, 1:], (0, chunk), value=PADDING)


@pytest.mark.parametrize("chunk", [1, 7, 64, 75, 150])
def test_next_base_gradients_equal_the_whole_step(chunk: int) -> None:
    model, tokens = language_model(), windows()
    targets = padded_targets(tokens, chunk)
    graphs = ChunkGraphs(model, tokens[:, :chunk], targets[:, :chunk], next_base)
    for seed in range(2):
        torch.manual_seed(seed)
        with torch.no_grad():  # a step of an optimiser between two uses
            model.backbone.layers[0].mixer.in_proj.weight.add_(0.1 * torch.randn(64, 16))
        loss, expected = whole_step(model, tokens)
        found = graphs(tokens[:, :-1], lambda span: targets[:, span])
        assert found.item() == pytest.approx(loss.item(), rel=1e-12)
        check_equal(gradients_of(model), expected, 1e-12)


@pytest.mark.parametrize("chunk", [7, 64])
@pytest.mark.parametrize("mode", ["last", "mean", "next"])
def test_pooled_gradients_equal_the_whole_step(mode: str, chunk: int) -> None:
    model = language_model().backbone
    head = nn.Linear(16 * (4 if mode == "next" else 1), 3).double()
    tokens = windows()[:, :-1]
    lengths = torch.tensor([150, 97, 2])
    bases = base_table("dna")[tokens.long()]

    def loss_of(vector: Tensor) -> Tensor:
        return head(vector).square().sum()

    loss_of(pool(mode, model(tokens).hidden, bases, lengths)).backward()
    expected = gradients_of(model, head)
    weights = PoolingWeights(mode, bases, lengths)
    graphs = ChunkGraphs(model, tokens[:, :chunk], weights(slice(0, chunk)), pooled)
    graphs(tokens, weights, loss_of)
    check_equal(gradients_of(model, head), expected, 1e-12)


@pytest.mark.gpu
def test_graphs_equal_the_launches_that_they_replace() -> None:
    torch.manual_seed(0)
    model = LanguageModel(MambaConfig(d_model=64, n_layer=3)).cuda()
    tokens = torch.randint(0, 4, (2, 5001), dtype=torch.uint8, device="cuda")
    chunk = 1024
    targets = padded_targets(tokens, chunk)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    with torch.autocast("cuda", torch.bfloat16):
        graphs = ChunkGraphs(model, tokens[:, :chunk], targets[:, :chunk], next_base)
        for _ in range(3):
            truth = chunked_backward(model, tokens[:, :-1], 5000, lambda span: targets[:, span], next_base)
            exact = gradients_of(model)
            loss = chunked_backward(model, tokens[:, :-1], chunk, lambda span: targets[:, span], next_base)
            eager = gradients_of(model)
            found_loss = graphs(tokens[:, :-1], lambda span: targets[:, span])
            assert found_loss.item() == pytest.approx(loss.item(), rel=1e-4)
            assert found_loss.item() == pytest.approx(truth.item(), rel=1e-3)
            for name, parameter in model.named_parameters():
                assert parameter.grad is not None
                for expected in (eager[f"0.{name}"], exact[f"0.{name}"]):
                    assert (parameter.grad - expected).norm() < 2e-2 * expected.norm(), name
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
