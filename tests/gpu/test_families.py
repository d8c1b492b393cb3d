"""Caduceus, Transformer++ and HyenaDNA on a GPU: the numbers of the CPU, and one alike for both strands."""

import pytest
import torch

from dnamamba import LanguageModel, get_alphabet
from dnamamba.models import ModelConfig
from dnamamba.models.caduceus.config import CaduceusConfig
from dnamamba.models.hyena.config import HyenaConfig
from dnamamba.models.transformer.config import TransformerConfig
from dnamamba.objectives.masked import MaskedBases

pytestmark = pytest.mark.gpu
CONFIGS = {
    "ps": CaduceusConfig(d_model=64, n_layer=2),
    "ps exchanged": CaduceusConfig(d_model=64, n_layer=3, exchange=True),
    "ph": CaduceusConfig(d_model=64, n_layer=2, equivariant=False, strategy="ew_multiply"),
    "transformer": TransformerConfig(d_model=64, n_layer=2),
    "hyena": HyenaConfig(d_model=64, n_layer=2, max_length=600),
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_logits_and_gradients_equal_those_of_the_cpu(config: ModelConfig) -> None:
    torch.manual_seed(0)
    model = LanguageModel(config)
    tokens = torch.randint(0, 5, (2, 513), dtype=torch.uint8)
    batch = {"tokens": tokens, "index": torch.arange(2)}
    objective = MaskedBases(config)
    found = {}
    for device in ("cpu", "cuda"):
        model, objective = model.to(device), objective.to(device)
        there = {name: value.to(device) for name, value in batch.items()}
        loss = objective.loss_sum(model, there) / objective.number_of_targets(there)
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        found[device] = [loss.detach().cpu(), *(gradient.cpu() for gradient in gradients)]
    for one, other in zip(found["cuda"], found["cpu"], strict=True):
        scale = other.abs().max()
        torch.testing.assert_close(one / scale, other / scale, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["ps", "ps exchanged"])
def test_ps_is_equivariant_to_1e5_in_fp32(name: str) -> None:
    torch.manual_seed(0)
    model = LanguageModel(CONFIGS[name]).cuda().eval()
    dna = get_alphabet("dna")
    ids = torch.randint(0, 5, (1, 4096)).numpy().astype("uint8")
    other = torch.from_numpy(dna.reverse_complement(ids)).cuda()
    with torch.no_grad():
        hidden = model.backbone(torch.from_numpy(ids).cuda()).hidden
        reverse = model.backbone(other).hidden
    torch.testing.assert_close(reverse.flip(1, 2), hidden, rtol=1e-5, atol=1e-5)
