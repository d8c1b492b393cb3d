"""Both reads of a chunk over fixed buffers: on a CPU as tapes of operations, on a GPU as CUDA graphs."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dnamamba.models import LanguageModel, MambaConfig
from dnamamba.models.chunk_pooling import PoolingWeights, pooled
from dnamamba.models.pooling import base_table, pool
from dnamamba.objectives.base import Chunks
from dnamamba.training.chunk_graphs import ChunkGraphs
from dnamamba.training.chunks import chunked_backward

from .taped import Taped
from .test_chunks import N, check_equal, gradients_of, next_base, whole_step

LENGTH = 48


def language_model(dtype: torch.dtype = torch.float64) -> LanguageModel:
    torch.manual_seed(0)
    return LanguageModel(MambaConfig(d_model=8, n_layer=2), backend="chunked").to(dtype)


def windows() -> Tensor:
    """Two rows of 48 bases and the target of the last; N within."""
    tokens = torch.randint(0, 4, (2, LENGTH + 1), generator=torch.Generator().manual_seed(1))
    tokens[0, 24:34] = N
    return tokens.to(torch.uint8)


def next_base_chunks(model: LanguageModel, tokens: Tensor) -> Chunks:
    targets = tokens[:, 1:]
    return Chunks(model, tokens[:, :-1], lambda span: targets[:, span], next_base, after=model.after)


def step_without_graphs(chunks: Chunks, chunk: int, **options: Any) -> Tensor:
    *given, after = chunks
    return chunked_backward(*given[:2], chunk, *given[2:], after=after, **options)


@contextmanager
def counted(model: nn.Module) -> Iterator[list[int]]:
    """How often Python calls a model."""
    calls = [0]
    handle = model.register_forward_pre_hook(lambda *_: calls.__setitem__(0, calls[0] + 1))
    yield calls
    handle.remove()


@pytest.mark.parametrize("chunk", [7, 16, 48, 1000])
def test_next_base_gradients_equal_the_whole_step(chunk: int) -> None:
    model, tokens = language_model(), windows()
    taped = Taped()
    graphs = ChunkGraphs(chunk, taped)
    for seed in range(2):
        torch.manual_seed(seed)
        with torch.no_grad():  # a step of an optimiser between two uses
            model.backbone.layers[0].mixer.in_proj.weight.add_(0.1 * torch.randn(32, 8))
        used = tokens.flip(1) if seed else tokens  # other bases than those that were captured
        loss, expected = whole_step(model, used)
        found = graphs(next_base_chunks(model, used))
        assert found.item() == pytest.approx(loss.item(), rel=1e-12)
        check_equal(gradients_of(model), expected, 1e-12)
    assert taped.captures == (chunk <= LENGTH)


def test_gradients_have_the_bits_of_launches_without_graphs() -> None:
    model, tokens = language_model(torch.float32), windows()
    graphs = ChunkGraphs(20, Taped())
    with torch.autocast("cpu", torch.bfloat16):
        for options in ({}, {"backward": lambda loss: (loss / 3).backward()}):
            expected = step_without_graphs(next_base_chunks(model, tokens), 20, **options)
            gradients = gradients_of(model)
            assert graphs(next_base_chunks(model, tokens), **options) == expected
            for name, gradient in gradients_of(model).items():
                assert torch.equal(gradient, gradients[name]), name


@pytest.mark.parametrize("chunk", [7, 16])
@pytest.mark.parametrize("mode", ["last", "mean", "next"])
def test_pooled_gradients_equal_the_whole_step(mode: str, chunk: int) -> None:
    model = language_model().backbone
    head = nn.Linear(8 * (4 if mode == "next" else 1), 3).double()
    graphs = ChunkGraphs(chunk, Taped())
    for tokens in (windows()[:, :-1], windows()[:, :-1].flip(0)):
        lengths = torch.tensor([LENGTH, 21])
        bases = base_table("dna")[tokens.long()]

        def loss_of(vector: Tensor) -> Tensor:
            return head(vector).square().sum()

        expected_loss = loss_of(pool(mode, model(tokens).hidden, bases, lengths))
        (expected_loss * 5).backward()
        expected = gradients_of(model, head)
        weights = PoolingWeights(mode, bases, lengths, torch.float64)
        chunks = Chunks(model, tokens, weights, pooled, loss_of)
        found = graphs(chunks, backward=lambda loss: (loss * 5).backward())
        assert found.item() == pytest.approx(expected_loss.item(), rel=1e-12)
        check_equal(gradients_of(model, head), expected, 1e-12)


def test_one_capture_serves_all_steps_of_as_many_rows() -> None:
    model, tokens = language_model(), windows()
    taped = Taped()
    graphs = ChunkGraphs(20, taped)
    with counted(model.backbone) as calls:
        for rows in (2, 1, 2, 1):
            graphs(next_base_chunks(model, tokens[:rows]))
        in_python = calls[0]
        graphs(next_base_chunks(model, tokens))
        # The short first chunk is read twice, once of it by `after`.
        assert calls[0] - in_python == 1
    assert taped.captures == 2
    assert taped.replays == 5 * (1 + 2)


def test_a_model_that_moved_or_learns_otherwise_is_captured_anew() -> None:
    model, tokens = language_model(), windows()
    taped = Taped()
    graphs = ChunkGraphs(16, taped)
    graphs(next_base_chunks(model, tokens))
    model.zero_grad()
    model.backbone.embedding.weight.requires_grad_(False)
    graphs(next_base_chunks(model, tokens))
    found = gradients_of(model)
    assert "0.backbone.embedding.weight" not in found
    model.backbone.norm_f.weight.data = model.backbone.norm_f.weight.data.clone()
    graphs(next_base_chunks(model, tokens))
    check_equal(gradients_of(model), found, 1e-12)
    assert taped.captures == 3


def test_gradients_accumulate_over_micro_batches() -> None:
    model, tokens = language_model(), windows()
    _, expected = whole_step(model, tokens)
    graphs = ChunkGraphs(20, Taped())
    for row in tokens.split(1):
        graphs(next_base_chunks(model, row))
    check_equal(gradients_of(model), expected, 1e-12)


def test_processes_exchange_gradients_in_one_backward() -> None:
    model, tokens = language_model(), windows()
    alone, backwards = [False], []

    @contextmanager
    def no_sync() -> Iterator[None]:
        alone[0] = True
        yield
        alone[0] = False

    def backward(loss: Tensor) -> None:
        backwards.append(alone[0])
        loss.backward()

    for chunk in (20, 16):  # with a short first chunk, and without
        ChunkGraphs(chunk, Taped())(next_base_chunks(model, tokens), backward=backward, no_sync=no_sync)
    assert backwards == [True, True, False, True, False]


def test_a_number_that_python_asks_for_is_no_part_of_a_graph() -> None:
    chunks = next_base_chunks(language_model(), windows())

    def asks(logits: Tensor, bases: Tensor) -> Tensor:
        return next_base(logits, bases) * (2 if bases.sum().item() else 1)

    with pytest.raises(RuntimeError, match="stream is capturing"):
        ChunkGraphs(20, Taped())(chunks._replace(term_of=asks))


@pytest.mark.gpu
@pytest.mark.parametrize("lora", [False, True])
def test_graphs_equal_the_launches_that_they_replace(lora: bool) -> None:
    torch.manual_seed(0)
    model = LanguageModel(MambaConfig(d_model=64, n_layer=3)).cuda()
    if lora:
        peft = pytest.importorskip("peft")
        peft.inject_adapter_in_model(peft.LoraConfig(r=2, target_modules=["in_proj"]), model.backbone)
        model.cuda()
    tokens = torch.randint(0, 4, (2, 5001), dtype=torch.uint8, device="cuda")
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-3)
    graphs = ChunkGraphs(1024)
    with torch.autocast("cuda", torch.bfloat16):
        for _ in range(3):
            truth = step_without_graphs(next_base_chunks(model, tokens), 5000)
            exact = gradients_of(model)
            loss = step_without_graphs(next_base_chunks(model, tokens), 1024)
            eager = gradients_of(model)
            found_loss = graphs(next_base_chunks(model, tokens))
            assert found_loss.item() == pytest.approx(loss.item(), rel=1e-6)
            assert found_loss.item() == pytest.approx(truth.item(), rel=1e-3)
            for name, gradient in exact.items():
                found = model.get_parameter(name.removeprefix("0.")).grad
                assert found is not None
                assert (found - eager[name]).norm() <= 1e-5 * eager[name].norm(), name
                assert (found - gradient).norm() < 2e-2 * gradient.norm() + 1e-12, name
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
