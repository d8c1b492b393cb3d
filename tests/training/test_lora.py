"""Adapters that really learn, and a merged model that is the same one."""

import pytest
import torch

from dnamamba.models import DecoderConfig, MambaConfig, ModelConfig, SequenceModel
from dnamamba.models.caduceus.config import CaduceusConfig
from dnamamba.models.hyena.config import HyenaConfig
from dnamamba.models.mamba import backbone as backbone_module
from dnamamba.models.transformer.config import TransformerConfig
from dnamamba.training.lora import add_adapters, merge_adapters


@pytest.fixture(autouse=True)
def peft() -> None:
    """What makes the adapters; its import takes seconds."""
    pytest.importorskip("peft")


@pytest.fixture
def model() -> SequenceModel:
    torch.manual_seed(0)
    return SequenceModel(MambaConfig(16, 2), DecoderConfig("classification", ("a", "b"), "mean"))


def trained(model: SequenceModel) -> torch.Tensor:
    """Adapters with something in them, as after training; returns tokens."""
    add_adapters(model, rank=3, alpha=6)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.3)
    return torch.randint(0, 4, (3, 70), dtype=torch.uint8)


def test_new_adapters_change_nothing_and_train_with_head(model: SequenceModel) -> None:
    tokens = torch.randint(0, 4, (2, 40), dtype=torch.uint8)
    before = model(tokens)
    add_adapters(model, rank=3, alpha=6)
    torch.testing.assert_close(model(tokens), before, rtol=1e-5, atol=1e-6)
    learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert {name for name in learning if "lora_" not in name} == {"head.weight", "head.bias"}
    assert len(learning) == 2 + 2 * 2 * len(model.backbone.adapters)


def test_every_adapter_gets_a_gradient(model: SequenceModel) -> None:
    """Fused kernels that read the weights themselves would pass adapters by: all gradients would be zero."""
    tokens = trained(model)
    model(tokens).square().sum().backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.abs().max() > 1e-6, name


def test_adapters_called_equal_adapters_merged(model: SequenceModel) -> None:
    """The merged model has plain projections again, which a fused block may read."""
    names = list(model.state_dict())
    tokens = trained(model)
    expected = model(tokens)
    plain = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    merge_adapters(model)
    assert list(model.state_dict()) == names
    torch.testing.assert_close(model(tokens), expected, rtol=1e-4, atol=1e-5)
    model.backbone.layers[0].mixer.in_proj.weight.data -= 0.1  # not a view of something that is kept
    assert not torch.allclose(model(tokens), expected, atol=1e-3)
    weight = plain["backbone.layers.1.mixer.dt_proj.base_layer.weight"]
    a = plain["backbone.layers.1.mixer.dt_proj.lora_A.default.weight"]
    b = plain["backbone.layers.1.mixer.dt_proj.lora_B.default.weight"]
    merged = model.backbone.layers[1].mixer.dt_proj.weight
    torch.testing.assert_close(merged, weight + 6 / 3 * b @ a, rtol=1e-5, atol=1e-6)


def test_wrapped_projection_keeps_block_from_fused_kernel(
    model: SequenceModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    fused: list[bool] = []
    monkeypatch.setattr(backbone_module, "resolve", lambda backend, device, dtype: "triton")

    def block(x: torch.Tensor, **rest: object) -> tuple[torch.Tensor, None, None]:
        fused.append(True)
        return x, None, None

    monkeypatch.setattr(backbone_module, "mamba_block", block)
    tokens = torch.randint(0, 4, (1, 10), dtype=torch.uint8)
    model(tokens)
    assert fused == [True, True]
    add_adapters(model, rank=2, alpha=4)
    model(tokens)
    assert fused == [True, True]


@pytest.mark.parametrize(
    "config",
    [CaduceusConfig(16, 1), TransformerConfig(32, 1), HyenaConfig(16, 1, 128)],
    ids=["caduceus", "transformer", "hyena"],
)
def test_adapters_of_other_families_learn_and_merge(config: ModelConfig) -> None:
    torch.manual_seed(0)
    model = SequenceModel(config, DecoderConfig("classification", ("a", "b"), "mean"))
    tokens = trained(model)
    answer = model(tokens)
    answer[:, 0].sum().backward()
    learning = {name: parameter for name, parameter in model.named_parameters() if "lora_" in name}
    assert {name.split(".lora_")[0].rpartition(".")[2] for name in learning} == set(model.backbone.adapters)
    for name, parameter in learning.items():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name
    merge_adapters(model)
    assert not any("lora_" in name for name, _ in model.named_parameters())
    torch.testing.assert_close(model(tokens), answer, rtol=1e-4, atol=1e-5)
