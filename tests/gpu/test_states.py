"""The state alone after a sequence, which reads ahead of chunks ask for: `pytest -m gpu`."""

import pytest
import torch

from dnamamba.models import LanguageModel, MambaConfig

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize(("rows", "length"), [(2, 257), (1, 4096), (1, 2**16), (1600, 72)])
@pytest.mark.parametrize("half", [False, True])
def test_state_alone_is_that_of_a_whole_read(rows: int, length: int, half: bool) -> None:
    torch.manual_seed(0)
    model = LanguageModel(MambaConfig(d_model=64, n_layer=2)).cuda()
    tokens = torch.randint(0, 4, (rows, length), dtype=torch.uint8, device="cuda")
    with torch.no_grad(), torch.autocast("cuda", torch.bfloat16, enabled=half):
        before = model(tokens[:, :100]).state
        whole = model(tokens, before).state
    with torch.autocast("cuda", torch.bfloat16, enabled=half):
        found = model.after(tokens, before)
    for ours, theirs in zip(found, whole, strict=True):
        assert torch.equal(ours.conv, theirs.conv)
        assert not ours.ssm.requires_grad
        # The same drives of chunks, added up in another order.
        assert (ours.ssm - theirs.ssm).norm() <= 1e-5 * theirs.ssm.norm()
