"""One meaning of mean, last and next: over known bases, by one call, by pieces and by bins."""

import math

import pytest
import torch

from dnamamba import get_alphabet
from dnamamba.models.pooling import MODES, OTHER, UNKNOWN, Pooled, PooledPieces, base_table, part_bins, pool

# A N C G n T, then padding; hidden states are 1, 2, 4, 8, 16, 32 and 64, so that a sum tells its members.
LETTERS = b"ANCGnT"
HIDDEN = (2.0 ** torch.arange(7, dtype=torch.float64))[None, :, None]


def bases(alphabet: str = "bytes") -> torch.Tensor:
    letters = get_alphabet(alphabet)
    ids = torch.from_numpy(letters.encode(LETTERS).copy())
    return base_table(alphabet)[torch.cat([ids, torch.tensor([letters.pad_id])]).int()][None]


@pytest.mark.parametrize("alphabet", ["dna", "bytes"])
def test_table_tells_bases_others_and_unknown(alphabet: str) -> None:
    table = base_table(alphabet)
    letters = get_alphabet(alphabet)
    assert table[letters.encode("ACGTacgt").tolist()].tolist() == [0, 1, 2, 3] * 2
    assert table[[*letters.encode("Nn").tolist(), letters.pad_id]].tolist() == [UNKNOWN] * 3
    assert table[letters.encode("R").tolist()].tolist() == [OTHER if alphabet == "bytes" else UNKNOWN]


@pytest.mark.parametrize("alphabet", ["dna", "bytes"])
def test_pool_counts_known_bases_only(alphabet: str) -> None:
    for lengths in (None, torch.tensor([6])):
        assert pool("mean", HIDDEN, bases(alphabet), lengths).tolist() == [[(1 + 4 + 8 + 32) / 4]]
        assert pool("last", HIDDEN, bases(alphabet), lengths).tolist() == [[32.0]]
        # Before C is the N, before G the C, before T the n; nothing is before A.
        assert pool("next", HIDDEN, bases(alphabet), lengths).tolist() == [[0.0, 2 / 4, 4 / 4, 16 / 4]]


def test_lengths_hide_known_ids_behind_the_end() -> None:
    filled = torch.zeros(1, 7, dtype=torch.uint8)
    lengths = torch.tensor([3])
    assert pool("mean", HIDDEN, filled, lengths).tolist() == [[7 / 3]]
    assert pool("last", HIDDEN, filled, lengths).tolist() == [[4.0]]
    assert pool("next", HIDDEN, filled, lengths).tolist() == [[1.0, 0, 0, 0]]


@pytest.mark.parametrize("mode", MODES)
def test_nothing_known_is_the_zero_vector(mode: str) -> None:
    unknown = torch.full((1, 7), UNKNOWN, dtype=torch.uint8)
    hidden = HIDDEN.clone().requires_grad_()
    found = pool(mode, hidden, unknown, None)
    assert found.tolist() == [[0.0] * (4 if mode == "next" else 1)]
    found.sum().backward()
    assert hidden.grad is not None
    assert hidden.grad.abs().sum() == 0
    pieces = PooledPieces(mode)
    pieces.add(HIDDEN, unknown)
    assert torch.equal(pieces.result(), found.detach())


@pytest.mark.parametrize("mode", MODES)
def test_without_n_bits_are_those_of_plain_pooling(mode: str) -> None:
    """What models were trained with before N was left out."""
    torch.manual_seed(0)
    hidden, tokens = torch.randn(3, 50, 8), torch.randint(0, 4, (3, 50))
    lengths = torch.tensor([50, 7, 1])
    real = torch.arange(50) < lengths[:, None]
    members = tokens.masked_fill(~real, 9)[:, None, 1:] == torch.arange(4)[:, None]
    plain = {
        "last": hidden[torch.arange(3), lengths - 1],
        "mean": (hidden * real[..., None]).sum(1) / lengths[:, None],
        "next": torch.bmm(members.float(), hidden[:, :-1]).flatten(1) / lengths[:, None],
    }[mode]
    assert torch.equal(pool(mode, hidden, tokens, lengths), plain)
    if mode == "mean":
        assert torch.equal(pool(mode, hidden, tokens, None), hidden.mean(1))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("cuts", [[7], [1, 6], [2, 3, 2], [1] * 7])
def test_pieces_equal_one_call(mode: str, cuts: list[int]) -> None:
    pieces = PooledPieces(mode)
    for hidden, numbers in zip(HIDDEN.split(cuts, 1), bases().split(cuts, 1), strict=True):
        pieces.add(hidden, numbers)
    assert torch.equal(pieces.result(), pool(mode, HIDDEN, bases(), None))


@pytest.mark.parametrize("lead", [0, 1])
def test_bins_are_pooled_each_by_itself(lead: int) -> None:
    found = {}
    for mode in ("mean", "last"):
        value, count = part_bins(mode, HIDDEN, bases(), 2, lead)
        rows = Pooled(mode, 5, 1)
        rows.add(value, count, first=1)
        found[mode] = rows.values(nothing=math.nan)[:, 0]
    # AN CG nT and padding; with one position missing in front A, NC, Gn, T and padding.
    nan = math.nan
    expected = {
        0: {"mean": [nan, 1, 6, 32, nan], "last": [nan, 1, 8, 32, nan]},
        1: {"mean": [nan, 1, 4, 8, 32], "last": [nan, 1, 4, 8, 32]},
    }[lead]
    for mode, values in expected.items():
        torch.testing.assert_close(
            found[mode], torch.tensor(values, dtype=torch.float64), rtol=0, atol=0, equal_nan=True
        )
