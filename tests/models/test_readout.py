"""Poolings that are learnt, and both strands joined: padding changes nothing, each base sees both sides."""

import itertools
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from dnamamba import UserError, load, save_model
from dnamamba.models import DecoderConfig, MambaConfig, SequenceModel
from dnamamba.models.pooling import UNKNOWN
from dnamamba.models.readout import CHANNELS, Attention, Convolutions
from tests.models.test_sequence import COMPLEMENT, LENGTHS, gradients, padded, rows

LABELS = ("a", "b", "c")
READERS: tuple[dict[str, Any], ...] = (
    {"mode": "attention"},
    {"mode": "mean", "conv": 2},
    {"mode": "last", "conv": 1},
    {"mode": "mean", "context": "both"},
    {"mode": "next", "context": "both"},
    {"mode": "attention", "context": "both", "conv": 1},
)
EQUAL: dict[str, Any] = {"mode": "positions", "context": "both", "length": 150}


def build(**reader: Any) -> SequenceModel:
    torch.manual_seed(0)
    decoder = DecoderConfig("classification", LABELS, **reader)
    model = SequenceModel(MambaConfig(d_model=16, n_layer=2), decoder, backend="chunked").double()
    for parameter in model.parameters():  # biases too, so that what leaks is seen
        torch.nn.init.normal_(parameter, std=0.2) if parameter.dim() < 2 and not parameter.any() else None
    return model.eval()


def draw(number: int, length: int, letters: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randint(0, letters, (number, length), dtype=torch.uint8, generator=generator)


def other_strand(tokens: Tensor) -> Tensor:
    return COMPLEMENT[tokens.long()].flip(-1)


@pytest.mark.parametrize("reader", READERS, ids=str)
@pytest.mark.parametrize("side", ["right", "left"])
def test_padding_changes_neither_logits_nor_gradients(
    reader: dict[str, Any], side: Literal["right", "left"]
) -> None:
    model = build(**reader)
    one_by_one = torch.cat([model(row[None]) for row in rows()])
    expected = gradients(model, one_by_one)
    assert set(expected) == {name for name, _ in model.named_parameters()}
    for fill, extra in ((5, 0), (2, 9)):
        logits = model(padded(rows(), side, fill, extra), LENGTHS, padding=side)
        torch.testing.assert_close(logits, one_by_one, rtol=1e-5, atol=1e-6)
        for name, gradient in gradients(model, logits).items():
            error = (gradient - expected[name]).norm() / expected[name].norm().clamp(min=1e-12)
            assert error < 1e-5, f"{name}: {error:.2e}"


@pytest.mark.parametrize("reader", [*READERS, EQUAL], ids=str)
def test_pieces_equal_the_whole(reader: dict[str, Any]) -> None:
    model = build(**reader)
    tokens = draw(2, 150)
    expected = model(tokens)
    for cuts in ((150,), (64, 64, 22), (1, 149)):
        found = model.read(iter(tokens.split(cuts, dim=1)))
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("length", [1, 7])
def test_both_strands_meet_at_each_base(length: int) -> None:
    """By the loop: state t of the sequence next to state n - 1 - t of its reverse complement."""
    model = build(mode="mean", context="both")
    tokens = draw(1, length, 4)
    one, other = (model.backbone(strand).hidden[0] for strand in (tokens, other_strand(tokens)))
    joined = [torch.cat([one[t], other[length - 1 - t]]) for t in range(length)]
    found = model._hidden(tokens, None, model._states)[0]
    torch.testing.assert_close(found, torch.stack(joined), rtol=1e-6, atol=1e-7)
    padding = torch.cat([tokens, torch.full((1, 3), 5, dtype=torch.uint8)], 1)
    found = model._hidden(padding, torch.tensor([length]), model._states)[0, :length]
    torch.testing.assert_close(found, torch.stack(joined), rtol=1e-5, atol=1e-6)


def test_with_both_strands_first_base_sees_last() -> None:
    tokens, changed = draw(1, 9, 4), draw(1, 9, 4)
    changed[0, -1] = (changed[0, -1] + 1) % 4
    for context, sees in (("forward", False), ("both", True)):
        model = build(mode="mean", context=context)
        states = [model._hidden(one, None, model._states)[0, 0] for one in (tokens, changed)]
        assert torch.equal(*states) is not sees


@pytest.mark.parametrize("reader", [*READERS, EQUAL], ids=str)
def test_average_over_strands_is_same_of_either(reader: dict[str, Any]) -> None:
    alone = build(**reader)
    both = build(**reader, strand="both")
    tokens = draw(2, 150, 4)
    expected = (alone(tokens) + alone(other_strand(tokens))) / 2
    torch.testing.assert_close(both(tokens), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(both(other_strand(tokens)), expected, rtol=1e-5, atol=1e-6)
    pieces, others = tokens.split(64, 1), other_strand(tokens).split(64, 1)
    torch.testing.assert_close(both.read(pieces, others), expected, rtol=1e-5, atol=1e-6)


def test_positions_have_weights_of_their_own() -> None:
    model = build(**EQUAL)
    tokens = draw(2, 150)
    hidden = model._hidden(tokens, None, model._states)
    assert model.readout is not None
    projection = model.readout.pooling.projection  # type: ignore[union-attr]
    expected = model.head.bias.expand(2, -1).clone()
    for t in range(150):
        here = model.head.weight[:, CHANNELS * t : CHANNELS * (t + 1)]
        expected += (projection(hidden[:, t]) * (tokens[:, t] < 4)[:, None]) @ here.T
    torch.testing.assert_close(model(tokens), expected, rtol=1e-5, atol=1e-6)


def test_positions_refuse_another_length() -> None:
    model = build(**EQUAL)
    for tokens, lengths, got in ((draw(2, 151), None, 151), (draw(2, 152), torch.tensor([150, 149]), 149)):
        with pytest.raises(UserError, match=rf"sequences of 150 bases \(got {got}\)"):
            model(tokens, lengths)
    whole = draw(2, 150)
    filled = torch.cat([whole, torch.zeros(2, 2, dtype=torch.uint8)], 1)
    lengths = torch.tensor([150, 150])
    torch.testing.assert_close(model(filled, lengths), model(whole), rtol=1e-5, atol=1e-6)


def test_attention_is_mean_weighted_by_content_and_place() -> None:
    torch.manual_seed(1)
    layer, hidden = Attention(6).double(), torch.randn(1, 11, 6, dtype=torch.float64)
    known = torch.arange(11)[None] % 4 != 2
    found = layer(hidden, known, None).view(-1, 6)
    for query in range(len(found)):
        weights = []
        for t in range(11):
            waves = torch.tensor([torch.pi * wave * t / 10 for wave in range(16)], dtype=torch.float64).cos()
            score = layer.what.weight[query] @ hidden[0, t] + layer.where.weight[query] @ waves
            weights.append(score.exp() * known[0, t])
        shares = torch.stack(weights) / torch.stack(weights).sum()
        torch.testing.assert_close(found[query], shares @ hidden[0], rtol=1e-6, atol=1e-8)
    moved = layer(hidden.roll(2, 1), known.roll(2, 1), None)
    assert not torch.allclose(moved.view(-1, 6), found, atol=1e-3)
    assert not layer(hidden, torch.zeros(1, 11, dtype=torch.bool), None).any()


@pytest.mark.parametrize("layers", [1, 3])
def test_convolutions_reach_as_far_as_they_say(layers: int) -> None:
    torch.manual_seed(1)
    stack = Convolutions(4, layers).double()
    hidden, known = torch.randn(1, 61, 4, dtype=torch.float64), torch.ones(1, 61, dtype=torch.bool)
    changed = hidden.clone()
    changed[0, 30] += 1
    differs = (stack(hidden, known) != stack(changed, known)).any(-1)[0].nonzero()[:, 0]
    reach = sum(2**layer for layer in range(1, layers + 1))
    assert (differs[0], differs[-1]) == (30 - reach, 30 + reach)


@pytest.mark.parametrize("reader", [*READERS, EQUAL], ids=str)
def test_a_model_comes_back_from_its_folder(reader: dict[str, Any], tmp_path: Path) -> None:
    model = build(**reader).float()
    save_model(model, tmp_path / "model")
    again = load(tmp_path / "model")
    assert isinstance(again, SequenceModel)
    assert again.decoder == model.decoder
    torch.testing.assert_close(again(draw(2, 150)), model(draw(2, 150)), rtol=1e-4, atol=1e-5)


def test_plain_pooling_leaves_no_word_in_its_file() -> None:
    """What an older version reads it still reads."""
    keys = {"kind", "labels", "mode", "shift", "scale", "strand"}
    assert set(DecoderConfig("classification", LABELS, "mean").to_dict()) == keys
    assert set(DecoderConfig("classification", LABELS, "mean", conv=1).to_dict()) == {*keys, "conv"}


@pytest.mark.parametrize(
    ("reader", "message"),
    [
        ({"context": "reverse"}, "decoder.context: must be forward or both (got 'reverse')"),
        ({"mode": "last", "context": "both"}, "choose decoder.mode of mean, next, attention, positions"),
        ({"conv": -1}, "decoder.conv: must lie between 0 and 10 convolutions (got -1)"),
        ({"mode": "positions"}, "decoder.mode=positions needs sequences of one length (got None)"),
    ],
)
def test_a_reader_that_makes_no_sense_is_refused(reader: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        DecoderConfig("classification", LABELS, **reader)
    assert message in str(error.value)


def test_unknown_bases_are_nothing_to_a_reader() -> None:
    """Whatever the hidden state of an N, only the states of known bases are read."""
    model = build(mode="attention", conv=2)
    assert model.readout is not None
    hidden, bases = torch.randn(1, 20, 16, dtype=torch.float64), torch.zeros(1, 20, dtype=torch.uint8)
    bases[0, [0, 7, 19]] = UNKNOWN
    other = hidden.clone()
    other[0, [0, 7, 19]] = 9.0
    assert torch.equal(*(model.readout(one, bases, None) for one in (hidden, other)))
    pairs = itertools.pairwise([hidden, hidden.roll(1, 1)])
    assert not any(
        torch.equal(model.readout(a, bases, None), model.readout(b, bases, None)) for a, b in pairs
    )
