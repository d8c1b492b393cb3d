"""Every initialisation rule of the Mamba paper's DNA models, and the parameter counts of its seven sizes."""

import math

import pytest
import torch
import torch.nn.functional as F

from dnamamba.models import LanguageModel, MambaConfig

# blocks, width, parameters with a vocabulary of 16 and of 8
PAPER_SIZES = [
    (8, 64, 262_720, 262_208),
    (10, 96, 684_192, 683_424),
    (12, 128, 1_401_472, 1_400_448),
    (14, 192, 3_527_232, 3_525_696),
    (16, 256, 7_012_608, 7_010_560),
    (20, 384, 19_291_008, 19_287_936),
    (24, 512, 40_694_272, 40_690_176),
]


@pytest.mark.parametrize(("n_layer", "d_model", "with_16", "with_8"), PAPER_SIZES)
def test_parameter_counts_are_the_papers(n_layer: int, d_model: int, with_16: int, with_8: int) -> None:
    for vocab_size, expected in ((16, with_16), (8, with_8)):
        with torch.device("meta"):
            model = LanguageModel(MambaConfig(d_model, n_layer, vocab_size=vocab_size))
        assert sum(parameter.numel() for parameter in model.parameters()) == expected


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    torch.manual_seed(0)
    return LanguageModel(MambaConfig(d_model=128, n_layer=4, vocab_size=256))


def test_every_parameter_is_float32(model: LanguageModel) -> None:
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_a_is_minus_one_to_minus_n(model: LanguageModel) -> None:
    for layer in model.backbone.layers:
        expected = -torch.arange(1.0, 17.0).expand(256, 16)
        torch.testing.assert_close(-torch.exp(layer.mixer.A_log), expected, rtol=1e-6, atol=0)


def test_d_and_norms_are_one(model: LanguageModel) -> None:
    for layer in model.backbone.layers:
        assert (layer.mixer.D == 1).all()
        assert (layer.norm.weight == 1).all()
    assert (model.backbone.norm_f.weight == 1).all()


def test_dt_is_log_uniform_between_its_bounds(model: LanguageModel) -> None:
    dt = torch.cat([F.softplus(layer.mixer.dt_proj.bias) for layer in model.backbone.layers]).double()
    assert dt.min() >= 1e-3 * (1 - 1e-4)
    assert dt.max() <= 1e-1 * (1 + 1e-4)
    # Kolmogorov-Smirnov against the uniform law of log dt: 1.95 / sqrt(n) is the 0.1 % level.
    quantiles = ((dt.log() - math.log(1e-3)) / math.log(100)).sort().values
    steps = torch.arange(1, len(dt) + 1, dtype=torch.float64) / len(dt)
    assert (quantiles - steps).abs().max() < 1.95 / math.sqrt(len(dt))


def test_dt_never_starts_below_its_floor() -> None:
    config = MambaConfig(64, 1, dt_min=1e-3, dt_max=1e-1, dt_init_floor=1e-3)
    floored = MambaConfig(64, 1, dt_min=5e-3, dt_max=5e-3, dt_init_floor=5e-3)
    for case, least in ((config, 1e-3), (floored, 5e-3)):
        dt = F.softplus(LanguageModel(case).backbone.layers[0].mixer.dt_proj.bias)
        assert dt.min() >= least * (1 - 1e-5)


def test_dt_of_a_billionth_is_met_in_float32() -> None:
    config = MambaConfig(64, 1, dt_min=1e-9, dt_max=1e-8, dt_init_floor=1e-9)
    dt = F.softplus(LanguageModel(config).backbone.layers[0].mixer.dt_proj.bias.double())
    assert 1e-9 * (1 - 1e-5) <= dt.min() < 2e-9
    assert 5e-9 < dt.max() <= 1e-8 * (1 + 1e-5)


def uniform_bound(weight: torch.Tensor, bound: float) -> None:
    """The weight fills [-bound, bound] and has a uniform law's standard deviation."""
    assert weight.abs().max() <= bound
    assert weight.abs().max() > 0.97 * bound
    assert weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.08)


def test_projections_are_uniform_within_their_bounds(model: LanguageModel) -> None:
    for layer in model.backbone.layers:
        mixer = layer.mixer
        uniform_bound(mixer.dt_proj.weight, 8**-0.5)  # dt_rank^-1/2
        uniform_bound(mixer.in_proj.weight, 128**-0.5)  # kaiming-uniform(a = sqrt 5): fan_in^-1/2
        uniform_bound(mixer.x_proj.weight, 256**-0.5)
        uniform_bound(mixer.conv1d.weight, 4**-0.5)
        uniform_bound(mixer.out_proj.weight, 256**-0.5 / math.sqrt(4))  # over sqrt(number of blocks)


def test_embedding_is_normal_with_two_hundredths(model: LanguageModel) -> None:
    weight = model.backbone.embedding.weight
    assert weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert weight.mean().abs().item() < 0.001
    assert weight.abs().max() > 0.06  # a uniform law of that deviation would end at 0.035


def test_mixer_names_are_the_reference_implementations(model: LanguageModel) -> None:
    names = {name for name, _ in model.backbone.layers[0].mixer.named_parameters()}
    assert names == {
        "A_log",
        "D",
        "in_proj.weight",
        "conv1d.weight",
        "conv1d.bias",
        "x_proj.weight",
        "dt_proj.weight",
        "dt_proj.bias",
        "out_proj.weight",
    }


def test_head_is_the_embedding(model: LanguageModel) -> None:
    assert "backbone.embedding.weight" in model.state_dict()
    assert not [name for name in model.state_dict() if "head" in name]
    tokens = torch.zeros(1, 1, dtype=torch.uint8)
    with torch.no_grad():
        hidden = model.backbone(tokens).hidden
        assert torch.equal(model(tokens).logits, hidden @ model.backbone.embedding.weight.T)


def test_states_lose_the_share_that_a_scale_asks_for() -> None:
    mixer = LanguageModel(MambaConfig(64, 1, d_state=3, a_scale=1e-4)).backbone.layers[0].mixer
    expected = -1e-4 * torch.tensor([1.0, 2.0, 3.0]).expand(128, 3)
    torch.testing.assert_close(mixer.state_matrix, expected, rtol=1e-6, atol=0)
