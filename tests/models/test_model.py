"""What a model promises: causality, carried state, batch rows that do not see each other, recomputation."""

import pytest
import torch
from torch import Tensor

from dnamamba.models import LanguageModel, MambaConfig, initial_state


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    torch.manual_seed(0)
    return LanguageModel(MambaConfig(d_model=32, n_layer=3))


def random_tokens(*shape: int) -> Tensor:
    return torch.randint(0, 5, shape, dtype=torch.uint8)


def gradients(model: LanguageModel, loss: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def test_a_base_changes_nothing_before_it(model: LanguageModel) -> None:
    tokens = random_tokens(1, 90)
    changed = tokens.clone()
    changed[0, 70] = (changed[0, 70] + 1) % 4
    before, after = model(tokens).logits, model(changed).logits
    assert torch.equal(before[:, :70], after[:, :70])
    assert not torch.equal(before[:, 70], after[:, 70])
    assert not torch.equal(before[:, 89], after[:, 89])


def test_two_halves_with_state_carried_equal_whole(model: LanguageModel) -> None:
    tokens = random_tokens(2, 100)
    weights = torch.randn(2, 100, 8)
    whole = model(tokens)
    expected = gradients(model, (whole.logits * weights).sum())
    for cut in (1, 2, 64, 99):
        first = model(tokens[:, :cut])
        second = model(tokens[:, cut:], first.state)
        logits = torch.cat([first.logits, second.logits], dim=1)
        torch.testing.assert_close(logits, whole.logits, rtol=1e-5, atol=1e-6)
        for ours, theirs in zip(second.state, whole.state, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
        found = gradients(model, (logits * weights).sum())
        for name, gradient in expected.items():
            error = (found[name] - gradient).norm() / gradient.norm()
            assert error < 1e-5, f"{name}: {error:.2e} with a cut at {cut}"


def test_a_base_at_a_time_equals_the_whole(model: LanguageModel) -> None:
    tokens = random_tokens(2, 20)
    with torch.no_grad():
        whole, state = model(tokens).logits, None
        for position in range(20):
            step = model(tokens[:, position : position + 1], state)
            state = step.state
            torch.testing.assert_close(step.logits[:, 0], whole[:, position], rtol=1e-5, atol=1e-6)


def test_initial_state_is_the_beginning_of_a_sequence(model: LanguageModel) -> None:
    tokens = random_tokens(2, 30)
    with torch.no_grad():
        state = initial_state(model.config, 2)
        torch.testing.assert_close(model(tokens, state).logits, model(tokens).logits, rtol=1e-6, atol=1e-7)


def test_detached_state_has_the_values_without_the_graph(model: LanguageModel) -> None:
    state = model(random_tokens(1, 10)).state
    assert state[0].ssm.requires_grad
    for before, after in zip(state, model.backbone.detach(state), strict=True):
        for ours, theirs in zip(before, after, strict=True):
            assert torch.equal(ours, theirs)
            assert not theirs.requires_grad


def test_rows_of_batch_do_not_see_each_other(model: LanguageModel) -> None:
    tokens = random_tokens(5, 70)
    with torch.no_grad():
        together = model(tokens).logits
        for row in range(5):
            # Not bit for bit: a matrix product sums in another order when it has fewer rows.
            torch.testing.assert_close(
                model(tokens[row : row + 1]).logits[0], together[row], rtol=1e-5, atol=2e-6
            )
        other = tokens.clone()
        other[1:] = random_tokens(4, 70)
        assert torch.equal(model(other).logits[0], together[0])


def test_stopping_after_block_gives_what_next_one_reads(model: LanguageModel) -> None:
    seen: list[Tensor] = []
    hooks = [
        layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        for layer in model.backbone.layers
    ]
    tokens = random_tokens(2, 40)
    with torch.no_grad():
        whole = model.backbone(tokens)
        for hook in hooks:
            hook.remove()
        for blocks, expected in enumerate([*seen, whole.hidden]):
            found = model.backbone(tokens, blocks=blocks)
            assert torch.equal(found.hidden, expected)
            assert len(found.state) == blocks
            assert torch.equal(model.head(whole.hidden), model(tokens).logits)
        first = model.backbone(tokens[:, :25], blocks=2)
        second = model.backbone(tokens[:, 25:], first.state, blocks=2)
        torch.testing.assert_close(second.hidden, seen[2][:, 25:], rtol=1e-5, atol=1e-6)


def test_uint8_and_int64_tokens_read_alike(model: LanguageModel) -> None:
    tokens = random_tokens(2, 33)
    with torch.no_grad():
        assert torch.equal(model(tokens).logits, model(tokens.long()).logits)


def test_recomputation_changes_neither_names_nor_gradients(model: LanguageModel) -> None:
    tokens = random_tokens(2, 65)
    weights = torch.randn(2, 65, 8)
    names = list(model.state_dict())
    expected = gradients(model, (model(tokens).logits * weights).sum())
    model.backbone.activation_checkpointing = True
    try:
        assert list(model.state_dict()) == names
        found = gradients(model, (model(tokens).logits * weights).sum())
    finally:
        model.backbone.activation_checkpointing = False
    for name, gradient in expected.items():
        assert torch.equal(found[name], gradient), name


def test_backends_agree() -> None:
    torch.manual_seed(1)
    chunked = LanguageModel(MambaConfig(d_model=32, n_layer=2), backend="chunked")
    reference = LanguageModel(MambaConfig(d_model=32, n_layer=2), backend="reference")
    reference.load_state_dict(chunked.state_dict())
    tokens = random_tokens(2, 90)
    torch.testing.assert_close(chunked(tokens).logits, reference(tokens).logits, rtol=1e-4, atol=1e-6)
