"""The layers of the ablations: judged in float64 by recurrences and sums, and by the Mamba family."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from dnamamba import LanguageModel, MambaConfig, UserError
from dnamamba.models.ablation.config import BLOCKS, LAYERS, AblationConfig
from dnamamba.models.ablation.layers import LAYER, expm1
from tests.families import assert_causal, assert_recomputed_gradients_are_equal

FILTER = {"max_length": 64}


def config(**changes: Any) -> AblationConfig:
    more = FILTER if changes.get("ssm") == "hyena" else {}
    shape = {"d_model": 6, "n_layer": 2, **more, **changes}
    if shape.get("ssm") != "hyena":
        shape = {"d_state": 4, **shape}
    return AblationConfig(**shape)


def layer(**changes: Any) -> Any:
    torch.manual_seed(0)
    chosen = config(**changes)
    made = LAYER[chosen.ssm](chosen, "auto").double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)
    return made


def judged(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-11)


@pytest.fixture
def u() -> Tensor:
    return torch.randn(2, 40, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def recurrence(u: Tensor, decay: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:
    """A step at a time: state [B, E, N]."""
    state, rows = torch.zeros(u.shape[0], *decay.shape, dtype=decay.dtype), []
    for step in u.unbind(1):
        state = decay * state + B * step[..., None]
        rows.append((state * C).sum(-1))
    y = torch.stack(rows, 1)
    return (y.real if y.is_complex() else y) + D * u


@pytest.mark.parametrize("a_init", ["ramp", "half", "normal"])
@torch.no_grad()
def test_real_s4_is_its_recurrence(u: Tensor, a_init: str) -> None:
    made = layer(ssm="s4_real", a_init=a_init)
    A, dt = -made.A_log.exp(), made.log_dt.exp()[:, None]
    judged(made(u), recurrence(u, (dt * A).exp(), ((dt * A).exp() - 1) / A, made.C, made.D))


@torch.no_grad()
def test_complex_s4_is_recurrence_of_conjugate_pairs(u: Tensor) -> None:
    made = layer(ssm="s4_complex")
    A, dt = torch.complex(-made.A_log.exp(), made.A_imag), made.log_dt.exp()[:, None]
    C = torch.complex(made.C[..., 0], made.C[..., 1])
    both = [torch.cat([one, one.conj()], -1) for one in ((dt * A).exp(), ((dt * A).exp() - 1) / A, C)]
    assert both[0].shape == (12, 4)
    judged(made(u), recurrence(u, *both, made.D))


@torch.no_grad()
def test_hyena_layer_is_sum_over_earlier_positions(u: Tensor) -> None:
    made = layer(ssm="hyena")
    taps = made.filter(40)
    rows = [(taps[: t + 1].flip(0) * u[:, : t + 1]).sum(1) for t in range(40)]
    judged(made(u), torch.stack(rows, 1) + made.filter.skip * u)


@pytest.mark.parametrize("selective", [[], ["dt"], ["B"], ["B", "C"], ["dt", "B", "C"]])
@pytest.mark.parametrize("states", [1, 4])
@torch.no_grad()
def test_only_what_is_selective_depends_on_input(u: Tensor, selective: list[str], states: int) -> None:
    made = layer(ssm="s6", selective=selective, d_state=states)
    sizes = {"dt": 1, "B": states, "C": states}
    parts = iter([] if made.x_proj is None else made.x_proj(u).split([sizes[name] for name in selective], -1))
    dt = (made.dt_proj(next(parts)) if "dt" in selective else torch.zeros_like(u)) + made.dt_bias
    B, C = (next(parts) if name in selective else getattr(made, name).expand(2, 40, -1) for name in "BC")
    dt, A = dt.exp().log1p(), -made.A_log.exp()
    state, rows = torch.zeros(2, 12, states, dtype=u.dtype), []
    for t in range(40):
        step = dt[:, t, :, None]
        state = (step * A).exp() * state + step * B[:, t, None] * u[:, t, :, None]
        rows.append((state * C[:, t, None]).sum(-1))
    judged(made(u), torch.stack(rows, 1) + made.D * u)
    linear = torch.allclose(made(2 * u), 2 * made(u))
    assert linear == (not selective)  # without selection the layer is linear


def test_selective_layer_in_mambas_block_is_mamba() -> None:
    torch.manual_seed(0)
    theirs = LanguageModel(MambaConfig(d_model=16, n_layer=2, d_state=4)).double()
    ours = LanguageModel(AblationConfig(d_model=16, n_layer=2, d_state=4)).double()
    names = {
        "mixer.x_proj": "mixer.ssm.x_proj",
        "mixer.dt_proj.bias": "mixer.ssm.dt_bias",
        "mixer.D": "mixer.ssm.D",
    }
    names |= {"mixer.dt_proj": "mixer.ssm.dt_proj", "mixer.A_log": "mixer.ssm.A_log"}
    weights = {}
    for name, tensor in theirs.state_dict().items():
        there = next((old for old in names if old in name), None)
        weights[name if there is None else name.replace(there, names[there])] = tensor
    ours.load_state_dict(weights)
    tokens = torch.randint(0, 4, (2, 30))
    with torch.no_grad():
        judged(ours(tokens).logits, theirs(tokens).logits)


@torch.no_grad()
def test_plain_and_h3_blocks_are_their_formulas() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 9, 6, dtype=torch.float64)
    for block in ("plain", "h3"):
        model = LanguageModel(config(block=block, ssm="s4_real")).double()
        mixer = model.backbone.blocks()[0].mixer
        made = torch.nn.functional.linear(x, mixer.in_proj.weight)
        query, mixed, value = made.chunk(3, -1) if block == "h3" else (None, made, None)
        before = torch.cat([torch.zeros(1, 3, mixed.shape[2], dtype=x.dtype), mixed], 1)
        mixed = sum(before[:, k : k + 9] * mixer.conv1d.weight[:, 0, k] for k in range(4)) + mixer.conv1d.bias
        y = mixer.ssm(mixed * mixed.sigmoid()) if query is None else query * mixer.ssm(mixed * value)
        judged(mixer(x), y @ mixer.out_proj.weight.T)


@pytest.mark.parametrize("ssm", LAYERS)
@pytest.mark.parametrize("block", BLOCKS)
def test_every_block_is_causal_and_recomputes(block: str, ssm: str) -> None:
    torch.manual_seed(0)
    model = LanguageModel(config(block=block, ssm=ssm, d_model=16))
    with torch.no_grad():
        model.backbone.embedding.weight.mul_(50)
        for name, parameter in model.named_parameters():
            if name.endswith(("x_proj.weight", "out_proj.weight")):
                parameter.mul_(3)  # a small state leaves the logits as they were
    assert_causal(model, atol=2e-5)
    assert_recomputed_gradients_are_equal(model)


def test_gradient_of_every_parameter_is_not_zero() -> None:
    for ssm in LAYERS:
        torch.manual_seed(0)
        model = LanguageModel(config(ssm=ssm, d_model=16))
        loss = model(torch.randint(0, 4, (2, 16))).logits.square().sum()
        for name, parameter in model.named_parameters():
            (found,) = torch.autograd.grad(loss, parameter, retain_graph=True)
            assert found.abs().max() > 0, (ssm, name)


def test_gradients_equal_finite_differences() -> None:
    for ssm in LAYERS:
        made, x = layer(ssm=ssm, d_model=1, d_inner=2), torch.randn(1, 5, 2, dtype=torch.float64)
        weights = tuple(made.parameters())

        def call(x: Tensor, *weights: Tensor, made: Any = made) -> Tensor:
            names = [name for name, _ in made.named_parameters()]
            return torch.func.functional_call(made, dict(zip(names, weights, strict=True)), (x,))

        assert torch.autograd.gradcheck(call, (x.requires_grad_(), *weights), fast_mode=True)


def test_initial_diagonals_are_those_of_paper() -> None:
    wanted = {"ramp": torch.tensor([-1.0, -2, -3, -4]), "half": torch.full((4,), -0.5)}
    for a_init, diagonal in wanted.items():
        for ssm in ("s6", "s4_real"):
            made = LAYER[ssm](config(ssm=ssm, a_init=a_init), "auto")
            torch.testing.assert_close(-made.A_log.exp(), diagonal.expand(12, 4))
    made = LAYER["s4_complex"](config(ssm="s4_complex"), "auto")
    torch.testing.assert_close(made.A_imag, torch.tensor([0.0, math.pi]).expand(12, 2))
    for ssm in ("s6", "s4_real", "s4_complex"):
        made = LAYER[ssm](config(ssm=ssm, d_inner=1000), "auto")
        dt = made.log_dt.exp() if hasattr(made, "log_dt") else made.dt_bias.exp().log1p()
        assert 1e-3 <= dt.min() < 2e-3, ssm
        assert 5e-2 < dt.max() <= 1.0001e-1, ssm


def test_complex_expm1_keeps_small_numbers() -> None:
    x = torch.complex(torch.tensor([-1e-9, -2.0]), torch.tensor([3e-9, 5.0]))
    torch.testing.assert_close(expm1(x), (torch.expm1(x.to(torch.complex128))).to(x.dtype), rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"block": "h4"}, "model.block: must be one of mamba, h3, plain (got h4)"),
        ({"ssm": "s5"}, "model.ssm: must be one of s6, s4_real, s4_complex, hyena (got s5)"),
        (
            {"ssm": "s4_real", "dt_rank": 2},
            "model.dt_rank: ssm=s4_real has no such setting, which is of s6 (got 2); leave it null",
        ),
        (
            {"max_length": 9},
            "model.max_length: ssm=s6 has no such setting, which is of hyena (got 9); leave it null",
        ),
        ({"ssm": "hyena", "max_length": None}, "model.max_length: must be a whole number from 1 to"),
        ({"ssm": "s4_complex", "d_state": 3}, "model.d_state: must be even for ssm=s4_complex"),
        ({"selective": ["A"]}, "model.selective: must list some of dt, B, C (got ['A'])"),
        ({"a_init": "zero"}, "model.a_init: must be one of ramp, half, normal (got zero)"),
        ({"d_model": 0}, "model.d_model: must be a whole number from 1 to 1,048,576 (got 0)"),
        ({"vocab_size": 300}, "model.vocab_size: must be at most 256, a token is a byte (got 300)"),
    ],
)
def test_settings_that_do_not_fit_name_their_key(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        config(**settings)
    assert str(error.value).startswith(message)
