"""Gradients by chunks are those of the whole sequence, whatever the chunk."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnamamba.errors import UserError
from dnamamba.models import LanguageModel, MambaConfig
from dnamamba.models.chunk_pooling import PoolingWeights, pooled
from dnamamba.models.pooling import base_table, pool
from dnamamba.training.chunks import chunked_backward, spans_of
from tests import processes

CONFIG = MambaConfig(d_model=16, n_layer=3)
LENGTH = 39
CHUNKS = [1, 2, 7, 13, 16, 38, 39, 1000]
N, PADDING = 4, 7
Gradients = dict[str, Tensor]


def next_base(logits: Tensor, bases: Tensor) -> Tensor:
    """Cross-entropy in nats over A, C, G and T, added up."""
    targets = bases.long().masked_fill(bases > 3, -100)
    return F.cross_entropy(logits.mT, targets, ignore_index=-100, reduction="sum")


def language_model(dtype: torch.dtype = torch.float64, backend: str = "chunked") -> LanguageModel:
    torch.manual_seed(0)
    model = LanguageModel(CONFIG, backend=backend).to(dtype)
    with torch.no_grad():  # a strong head, so that what follows a border matters
        model.backbone.embedding.weight.mul_(20)
    return model


def windows(batch: int = 3) -> Tensor:
    """Rows of 39, 25 and 2 bases and their targets' last; N within, padding behind."""
    tokens = torch.randint(0, 4, (batch, LENGTH + 1), generator=torch.Generator().manual_seed(1))
    tokens[0, 12:17] = N
    for row, length in zip(range(1, batch), (25, 2), strict=False):
        tokens[row, length:] = PADDING
    return tokens.to(torch.uint8)


def gradients_of(*modules: nn.Module) -> Gradients:
    """Gradients by name, taken away from the parameters."""
    found = {
        f"{i}.{name}": parameter.grad
        for i, module in enumerate(modules)
        for name, parameter in module.named_parameters()
        if parameter.grad is not None
    }
    for module in modules:
        module.zero_grad()
    return found


def check_equal(found: Gradients, expected: Gradients, limit: float) -> None:
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert gradient.norm() > 0, name
        error = ((found[name] - gradient).norm() / gradient.norm()).item()
        # The mixer takes A_log to float32 whatever the model's dtype: each chunk rounds its gradient there.
        own = max(limit, 1e-7) if name.endswith("A_log") else limit
        assert error < own, f"{name}: {error:.1e}"


def whole_step(model: nn.Module, tokens: Tensor) -> tuple[Tensor, Gradients]:
    loss = next_base(model(tokens[:, :-1])[0], tokens[:, 1:])
    loss.backward()
    return loss.detach(), gradients_of(model)


def chunk_step(model: nn.Module, tokens: Tensor, chunk: int, **options: bool) -> tuple[Tensor, Gradients]:
    targets = tokens[:, 1:]
    loss = chunked_backward(model, tokens[:, :-1], chunk, lambda span: targets[:, span], next_base, **options)
    return loss, gradients_of(model)


@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("backend", ["reference", "chunked"])
def test_next_base_gradients_equal_the_whole_step(chunk: int, backend: str) -> None:
    model, tokens = language_model(backend=backend), windows()
    loss, expected = whole_step(model, tokens)
    found_loss, found = chunk_step(model, tokens, chunk)
    assert found_loss.item() == pytest.approx(loss.item(), rel=1e-12)
    check_equal(found, expected, 1e-12)


@pytest.mark.parametrize("kernel", [1, 2, 6])
@pytest.mark.parametrize("chunk", [1, 3, 5])
def test_convolution_inputs_cross_borders(kernel: int, chunk: int) -> None:
    torch.manual_seed(0)
    model = LanguageModel(MambaConfig(d_model=8, n_layer=2, d_conv=kernel), backend="chunked").double()
    tokens = windows()[:, :24]
    check_equal(chunk_step(model, tokens, chunk)[1], whole_step(model, tokens)[1], 1e-12)


@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("mode", ["last", "mean", "next"])
def test_pooled_gradients_equal_the_whole_step(mode: str, chunk: int) -> None:
    model = language_model().backbone
    torch.manual_seed(1)
    head = nn.Linear(CONFIG.d_model * (4 if mode == "next" else 1), 3).double()
    tokens = windows()[:, :-1]
    lengths, labels = torch.tensor([39, 25, 2]), torch.tensor([2, 0, 1])
    bases = base_table("dna")[tokens.long()]

    def loss_of(vector: Tensor) -> Tensor:
        return F.cross_entropy(head(vector), labels, reduction="sum")

    loss = loss_of(pool(mode, model(tokens).hidden, bases, lengths))
    loss.backward()
    expected = gradients_of(model, head)
    weights = PoolingWeights(mode, bases, lengths, torch.float64)
    found = chunked_backward(model, tokens, chunk, weights, pooled, loss_of)
    assert found.item() == pytest.approx(loss.item(), rel=1e-12)
    check_equal(gradients_of(model, head), expected, 1e-12)


@pytest.mark.parametrize("chunk", [7, 16])
def test_per_position_head_gradients_equal_the_whole_step(chunk: int) -> None:
    model, tokens = language_model().backbone, windows()[:, :-1]
    head = nn.Linear(CONFIG.d_model, 2).double()
    labels = torch.randn(3, LENGTH, 2, dtype=torch.float64)

    def squares(hidden: Tensor, targets: Tensor) -> Tensor:
        return (head(hidden) - targets).square().sum()

    squares(model(tokens).hidden, labels).backward()
    expected = gradients_of(model, head)
    chunked_backward(model, tokens, chunk, lambda span: labels[:, span], squares)
    check_equal(gradients_of(model, head), expected, 1e-12)


def test_activation_checkpointing_changes_nothing() -> None:
    model, tokens = language_model(), windows()
    _, expected = whole_step(model, tokens)
    model.backbone.activation_checkpointing = True
    check_equal(chunk_step(model, tokens, 10)[1], expected, 1e-12)


def test_float32_stays_within_its_rounding() -> None:
    tokens = windows()
    _, expected = whole_step(language_model(), tokens)
    model = language_model(torch.float32)
    for chunk in (1, 7, 16):
        found = {name: gradient.double() for name, gradient in chunk_step(model, tokens, chunk)[1].items()}
        check_equal(found, expected, 2e-5)


@pytest.mark.parametrize("chunk", [7, 16])
def test_autocast_gradients_are_as_near_as_whole_step(chunk: int) -> None:
    """Autocast keeps copies of the weights, and one made without gradients would give none."""
    tokens = windows()
    _, truth = whole_step(language_model(), tokens)
    model = language_model(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        _, whole = whole_step(model, tokens)
    with torch.autocast("cpu", torch.bfloat16):
        _, chunks = chunk_step(model, tokens, chunk)
        assert torch.is_autocast_cache_enabled()
    assert chunks.keys() == truth.keys()
    for name, gradient in truth.items():
        budget = (whole[name] - gradient).norm()
        assert 0 < (chunks[name] - gradient).norm() < 1.5 * budget, name


def test_adapters_get_the_gradients_of_the_whole_step() -> None:
    peft = pytest.importorskip("peft")
    model, tokens = language_model(), windows()
    layers = ["in_proj", "x_proj", "dt_proj", "out_proj"]
    peft.inject_adapter_in_model(peft.LoraConfig(r=2, target_modules=layers), model.backbone)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    model.double()
    _, expected = whole_step(model, tokens)
    assert len(expected) == 3 * len(layers) * 2
    check_equal(chunk_step(model, tokens, 10)[1], expected, 1e-12)


class Counting(nn.Module):
    """Counts positions read with and without gradients."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.read = {True: 0, False: 0}

    def forward(self, tokens: Tensor, state: object = None) -> tuple[Tensor, object]:
        self.read[torch.is_grad_enabled()] += tokens.shape[1]
        return self.model(tokens, state)


def test_the_last_chunk_is_read_once() -> None:
    model = Counting(language_model())
    chunk_step(model, windows(), 16)
    assert model.read == {True: 39, False: 23}


def test_a_frozen_model_is_read_once() -> None:
    model, head = Counting(language_model().backbone.requires_grad_(False)), nn.Linear(16, 1).double()
    tokens = windows()[:, :-1]
    lengths, bases = torch.tensor([39, 25, 2]), base_table("dna")[tokens.long()]
    weights = PoolingWeights("mean", bases, lengths, torch.float64)

    def loss_of(vector: Tensor) -> Tensor:
        return head(vector).square().sum()

    loss_of(pool("mean", model(tokens)[0], bases, lengths)).backward()
    expected = gradients_of(head)
    model.read = {True: 0, False: 0}
    chunked_backward(model, tokens, 16, weights, pooled, loss_of)
    check_equal(gradients_of(head), expected, 1e-12)
    assert model.read == {True: 0, False: 39}

    chunked_backward(model, tokens, 16, lambda span: tokens[:, span], lambda h, _: head(h).square().sum())
    found = gradients_of(head)
    head(model(tokens)[0]).square().sum().backward()
    check_equal(found, gradients_of(head), 1e-12)


def test_truncated_gradients_are_those_of_detached_states() -> None:
    model, tokens = Counting(language_model()), windows()
    _, whole = whole_step(model, tokens)
    total, state = torch.zeros((), dtype=torch.float64), None
    for span in spans_of(LENGTH, 10):
        logits, state = model(tokens[:, :-1][:, span], state)
        state = tuple(type(layer)(*(part.detach() for part in layer)) for layer in state)
        total = total + next_base(logits, tokens[:, 1:][:, span])
    total.backward()
    expected = gradients_of(model)
    model.read = {True: 0, False: 0}
    loss, found = chunk_step(model, tokens, 10, truncated=True)
    assert model.read == {True: 39, False: 0}
    assert loss.item() == pytest.approx(total.item(), rel=1e-12)
    check_equal(found, expected, 1e-12)
    name = "0.model.backbone.layers.0.mixer.A_log"
    assert (found[name] - whole[name]).norm() > 1e-3 * whole[name].norm()


def test_truncated_gradients_of_pooled_head_stay_within_borders() -> None:
    model, tokens = language_model().backbone, windows(1)[:, :-1]
    weights = PoolingWeights("last", torch.zeros(1, LENGTH, dtype=torch.uint8))
    loss = chunked_backward(
        model, tokens, 13, weights, pooled, lambda vector: vector.square().sum(), truncated=True
    )
    found = gradients_of(model)
    with torch.no_grad():
        state = model(tokens[:, :26]).state
    expected_loss = model(tokens[:, 26:], state).hidden[:, -1].square().sum()
    expected_loss.backward()
    assert loss.item() == pytest.approx(expected_loss.item(), rel=1e-12)
    check_equal(found, gradients_of(model), 1e-12)


def test_a_scaled_backward_scales_every_gradient_once() -> None:
    model, tokens = language_model(), windows()
    targets = tokens[:, 1:]
    _, expected = whole_step(model, tokens)
    chunked_backward(
        model, tokens[:, :-1], 10, lambda span: targets[:, span], next_base,
        backward=lambda loss: (loss * 8).backward(),
    )  # fmt: skip
    check_equal({name: g / 8 for name, g in gradients_of(model).items()}, expected, 1e-12)


def test_gradients_accumulate_over_micro_batches() -> None:
    model, tokens = language_model(), windows()
    _, expected = whole_step(model, tokens)
    for part in tokens.split(2):
        targets = part[:, 1:]
        chunked_backward(model, part[:, :-1], 10, lambda span, targets=targets: targets[:, span], next_base)
    check_equal(gradients_of(model), expected, 1e-12)


@pytest.mark.parametrize("length", [1, 5, 10, 11])
@pytest.mark.parametrize("chunk", [1, 5, 10, 20])
def test_spans_cover_the_sequence(length: int, chunk: int) -> None:
    spans = spans_of(length, chunk)
    assert [i for span in spans for i in range(length)[span]] == list(range(length))
    assert all(span.stop - span.start == chunk for span in spans[1:])
    assert 1 <= spans[0].stop - spans[0].start <= chunk


def test_a_chunk_of_nothing_is_refused() -> None:
    with pytest.raises(UserError, match=r"train\.chunk_bases: .* \(got 0\); set 1 or more"):
        chunk_step(language_model(), windows(), 0)


MEMORY = """
import resource, sys
import torch
from dnamamba.models import LanguageModel, MambaConfig
from dnamamba.training.chunks import chunked_backward
length, chunk = map(int, sys.argv[1:])
model = LanguageModel(MambaConfig(d_model=64, n_layer=4))
tokens = torch.randint(0, 4, (1, length + 1), dtype=torch.uint8)
targets = tokens[:, 1:]
def loss(logits, bases):
    return torch.nn.functional.cross_entropy(logits.mT, bases.long(), reduction="sum")
def step(length, chunk):
    chunked_backward(model, tokens[:, :length], chunk, lambda span: targets[:, span], loss)
step(64, 64)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
step(length, chunk)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def peak_memory(length: int, chunk: int) -> int:
    """What a step adds to the peak of a process of its own, in the unit of the platform."""
    done = processes.run("-c", MEMORY, str(length), str(chunk))
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_memory_follows_the_chunk_and_not_the_length() -> None:
    whole = peak_memory(2**13, 2**13)
    short, long = (peak_memory(length, 2**10) for length in (2**11, 2**13))
    assert long < 1.5 * short  # in proportion to the length it would be 4
    assert long < whole / 3
