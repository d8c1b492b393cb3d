"""On a GPU: the CUDA graph of a step equals eager steps, and the bases of the CPU."""

import pytest
import torch

import dnamamba.inference.generation as generation
from dnamamba import LanguageModel, MambaConfig
from dnamamba.inference.generation import generate

pytestmark = pytest.mark.gpu


@pytest.fixture
def model() -> LanguageModel:
    torch.manual_seed(0)
    model = LanguageModel(MambaConfig(d_model=64, n_layer=4))
    return model.cuda()


@pytest.mark.parametrize("options", [{}, {"temperature": 0.0}, {"top_k": 3, "top_p": 0.9}])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_graph_equals_eager_steps(
    model: LanguageModel,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, float],
    dtype: torch.dtype,
) -> None:
    prompt = "ACGTTGCAAC" * 30
    with torch.autocast("cuda", dtype, enabled=dtype != torch.float32):
        captured = generate(model, prompt, 200, batch=3, seed=1, **options)
        monkeypatch.setattr(generation, "captured", lambda step, device: step)
        eager = generate(model, prompt, 200, batch=3, seed=1, **options)
    assert captured == eager
    assert options.get("temperature") == 0.0 or len(set(captured)) == 3


def test_the_first_bases_are_those_of_the_cpu(model: LanguageModel) -> None:
    """The noise is the same; sooner or later two logits are so close that rounding decides."""
    prompts = ["ACGTTGCAAC" * 30, "TTTTTTTTTA"]
    found = generate(model, prompts, 40, batch=2, seed=2)
    assert found == generate(model.cpu(), prompts, 40, batch=2, seed=2)
