"""Pieces with the state carried equal one call; a family without a state reads one piece or refuses."""

import pytest
import torch

from dnamamba import LanguageModel, MambaConfig, UserError
from dnamamba.models.reading import read_pieces

torch.manual_seed(0)
BACKBONE = LanguageModel(MambaConfig(d_model=16, n_layer=2)).double().backbone
TOKENS = torch.randint(0, 5, (2, 40), dtype=torch.uint8)


@pytest.mark.parametrize("cuts", [[40], [1, 39], [13, 13, 14]])
@pytest.mark.parametrize("blocks", [None, 1])
def test_pieces_equal_one_call(cuts: list[int], blocks: int | None) -> None:
    read = list(read_pieces(BACKBONE, TOKENS.split(cuts, 1), blocks=blocks))
    with torch.no_grad():
        whole = BACKBONE(TOKENS, blocks=blocks)
    found = torch.cat([piece.hidden for piece in read], 1)
    torch.testing.assert_close(found, whole.hidden, rtol=1e-10, atol=1e-12)
    assert torch.equal(torch.cat([piece.tokens for piece in read], 1), TOKENS)
    torch.testing.assert_close(read[-1].state, whole.state, rtol=1e-10, atol=1e-12)
    assert not found.requires_grad
    assert torch.is_grad_enabled()


def test_a_family_without_a_state_reads_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(BACKBONE), "recurrent", False)
    monkeypatch.setattr(type(BACKBONE), "max_length", 40)
    assert len(list(read_pieces(BACKBONE, [TOKENS]))) == 1
    with pytest.raises(
        UserError, match=r"^the family mamba reads a sequence in one piece \(got more than 20"
    ):
        list(read_pieces(BACKBONE, TOKENS.split(20, 1)))
    with pytest.raises(UserError, match=r"^the family mamba reads at most 40 bases \(got 80\)"):
        list(read_pieces(BACKBONE, [TOKENS.repeat(1, 2)]))
