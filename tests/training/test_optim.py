"""The learning rate of each step, and which parameters decay."""

import pytest
import torch

from dnamamba import LanguageModel, MambaConfig, UserError
from dnamamba.training.optim import Schedule, adamw, parameter_groups


def test_warmup_is_linear_cosine_ends_at_final_rate() -> None:
    schedule = Schedule(max_steps=100, learning_rate=8e-3, final_learning_rate=1e-5, warmup_fraction=0.1)
    assert schedule.warmup_steps == 10
    assert [schedule(step) for step in range(10)] == pytest.approx([8e-4 * (step + 1) for step in range(10)])
    assert schedule(10) == pytest.approx(8e-3)
    assert schedule(99) == pytest.approx(1e-5)
    assert schedule(500) == pytest.approx(1e-5)
    # Half way between the end of the warmup and the last step, the cosine is half way too.
    assert (schedule(54) + schedule(55)) / 2 == pytest.approx((8e-3 + 1e-5) / 2, rel=1e-3)
    decay = [schedule(step) for step in range(10, 100)]
    assert decay == sorted(decay, reverse=True)


def test_no_warmup_and_one_step() -> None:
    assert Schedule(1, 1e-3, 0.0, 0.0)(0) == 1e-3
    assert Schedule(10, 1e-3, 0.0, 1.0)(9) == pytest.approx(1e-3)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((0, 1e-3, 0.0, 0.1), r"train.max_steps: must be at least 1 \(got 0\)"),
        ((10, 1e-3, 1e-2, 0.1), "train.final_learning_rate: must lie between 0 and train.learning_rate"),
        ((10, 1e-3, 0.0, 1.5), r"train.warmup_fraction: must lie between 0 and 1 \(got 1\.5\)"),
    ],
)
def test_numbers_out_of_range_are_named(values: tuple, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Schedule(*values)


def test_a_log_d_biases_and_norms_never_decay() -> None:
    model = LanguageModel(MambaConfig(32, 2))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decayed, kept = (
        {names[id(parameter)] for parameter in group["params"]} for group in parameter_groups(model, 0.1)
    )
    assert decayed | kept == set(names.values())
    assert not decayed & kept
    block = "backbone.layers.1."
    never = ("norm.weight", "mixer.A_log", "mixer.D", "mixer.conv1d.bias", "mixer.dt_proj.bias")
    always = ("in_proj", "conv1d", "x_proj", "dt_proj", "out_proj")
    assert {name for name in kept if name.startswith(block)} == {block + name for name in never}
    assert {name for name in decayed if name.startswith(block)} == {
        f"{block}mixer.{name}.weight" for name in always
    }
    assert "backbone.embedding.weight" in decayed
    assert "backbone.norm_f.weight" in kept


@pytest.mark.parametrize("epsilon", [1e-8, 1e-16])
def test_epsilon_shrinks_the_update_of_small_gradients(epsilon: float) -> None:
    """A first step moves a weight by rate * g / (g + epsilon): half the rate where both are equal."""
    model = LanguageModel(MambaConfig(32, 1))
    optimizer = adamw(
        model, Schedule(10, 1e-2, 0.0, 0.0), weight_decay=0.0, betas=(0.9, 0.95), epsilon=epsilon
    )
    weight = model.get_parameter("backbone.layers.0.mixer.dt_proj.bias")
    before = weight.detach().clone()
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 1e-8)
    optimizer.step()
    moved = 1e-2 * 1e-8 / (1e-8 + epsilon)
    torch.testing.assert_close(weight.detach(), before - moved, rtol=1e-5, atol=0)


def test_adamw_decays_exactly_the_first_group() -> None:
    """With no gradient, a step only decays: by 1 - rate * decay, or not at all."""
    model = LanguageModel(MambaConfig(32, 1))
    optimizer = adamw(model, Schedule(10, 1e-2, 0.0, 0.0), weight_decay=0.1, betas=(0.9, 0.95))
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    mixer = "backbone.layers.0.mixer."
    for name, factor in ((f"{mixer}in_proj.weight", 1 - 1e-3), (f"{mixer}A_log", 1.0), (f"{mixer}D", 1.0)):
        found = model.get_parameter(name).detach()
        torch.testing.assert_close(found, before[name] * factor, rtol=1e-6, atol=0)
