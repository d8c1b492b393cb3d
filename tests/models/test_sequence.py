"""A sequence's answer: padding changes nothing, rows do not see each other, pieces equal the whole."""

import math
from typing import Literal

import pytest
import torch
from torch import Tensor

from dnamamba import UserError, get_alphabet
from dnamamba.models import DecoderConfig, MambaConfig, SequenceModel
from dnamamba.models.pooling import MODES

LENGTHS = torch.tensor([1, 70, 33, 64, 5])
BACKENDS = ("chunked", "reference")


def build(mode: str, backend: str = "chunked") -> SequenceModel:
    torch.manual_seed(0)
    model = SequenceModel(
        MambaConfig(d_model=16, n_layer=2),
        DecoderConfig("classification", ("a", "b", "c"), mode),
        backend=backend,
    )
    return model.double()


def rows() -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(0, 5, (int(n),), dtype=torch.uint8, generator=generator) for n in LENGTHS]


def padded(rows: list[Tensor], side: str, fill: int, extra: int) -> Tensor:
    width = int(LENGTHS.max()) + extra
    tokens = torch.full((len(rows), width), fill, dtype=torch.uint8)
    for row, target in zip(rows, tokens, strict=True):
        target[slice(len(row)) if side == "right" else slice(width - len(row), None)] = row
    return tokens


def gradients(model: SequenceModel, logits: Tensor) -> dict[str, Tensor]:
    weights = torch.linspace(-1, 2, logits.numel()).reshape(logits.shape)
    model.zero_grad()
    (logits * weights).sum().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_padding_changes_neither_logits_nor_gradients(
    mode: str, side: Literal["right", "left"], backend: str
) -> None:
    """A batch of mixed lengths, padded with several ids on either side, against one row at a time."""
    model = build(mode, backend)
    one_by_one = torch.cat([model(row[None]) for row in rows()])
    expected = gradients(model, one_by_one)
    assert set(expected) == {name for name, _ in model.named_parameters()}
    for fill, extra in ((5, 0), (2, 9)):
        logits = model(padded(rows(), side, fill, extra), LENGTHS, padding=side)
        torch.testing.assert_close(logits, one_by_one, rtol=1e-5, atol=1e-6)
        for name, gradient in gradients(model, logits).items():
            error = (gradient - expected[name]).norm() / expected[name].norm()
            assert error < 1e-5, f"{name}: {error:.2e}"


def test_padding_is_told_from_bases_by_lengths_alone() -> None:
    """Without lengths the same padding must count: the comparison above is not an accident."""
    model = build("last")
    tokens = padded(rows(), "right", 2, 3)
    assert not torch.allclose(model(tokens), model(tokens, LENGTHS), atol=1e-3)


@pytest.mark.parametrize("mode", MODES)
def test_the_pooling_is_the_one_asked_for(mode: str) -> None:
    model = build(mode)
    row = rows()[1][None]
    hidden = model.backbone(row).hidden[0]
    known = row[0] < 4
    assert 0 < known.sum() < len(known)
    pooled = {
        "last": hidden[known][-1],
        "mean": hidden[known].sum(0) / known.sum(),
        "next": torch.cat([hidden[:-1][row[0, 1:] == base].sum(0) for base in range(4)]) / known.sum(),
    }[mode]
    expected = pooled @ model.head.weight.T + model.head.bias
    torch.testing.assert_close(model(row)[0], expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("mode", MODES)
def test_pieces_equal_the_whole(mode: str) -> None:
    model = build(mode)
    tokens = torch.randint(0, 5, (2, 150), dtype=torch.uint8)
    for cuts in ((150,), (1, 149), (64, 64, 22), (50, 1, 99), (1,) * 150):
        torch.testing.assert_close(
            model.read(iter(tokens.split(cuts, dim=1))), model(tokens), rtol=1e-5, atol=1e-6
        )


def test_the_next_base_is_one_in_either_case() -> None:
    """Positions are told apart by the base alone; those before another letter, and the last, are nobody's."""
    alphabet = get_alphabet("bytes")
    decoder = DecoderConfig("classification", ("a", "b"), "next")
    model = SequenceModel(MambaConfig(8, 1, alphabet="bytes", vocab_size=256), decoder)
    letters = b"NaACcGnTtRAg"
    tokens = torch.from_numpy(alphabet.encode(letters).copy())[None]
    hidden = model.backbone(tokens).hidden[0]
    before = {base: [i - 1 for i, x in enumerate(letters.upper()) if x == base and i] for base in b"ACGT"}
    assert sorted(i for positions in before.values() for i in positions) == [0, 1, 2, 3, 4, 6, 7, 9, 10]
    expected = torch.cat([hidden[positions].sum(0) for positions in before.values()])
    expected /= 10  # all but N and n are known
    torch.testing.assert_close(model.features(tokens)[0], expected, rtol=1e-5, atol=1e-6)


def test_sums_and_head_are_not_of_half_precision() -> None:
    """Under autocast the windows' differences would be rounded away."""
    model = build("next").float()
    tokens = rows()[1][None]
    with torch.autocast("cpu", torch.bfloat16):
        logits, features = model(tokens), model.features(tokens)
        hidden = model.backbone(tokens).hidden[0].float()
    summed = torch.cat([hidden[:-1][tokens[0, 1:] == base].sum(0) for base in range(4)])
    summed /= (tokens < 4).sum()
    torch.testing.assert_close(features[0], summed, rtol=1e-5, atol=1e-6)
    expected = features @ model.head.weight.T + model.head.bias
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-6)


def test_features_are_what_the_head_reads() -> None:
    _, model = both_strands("next")
    tokens = padded(rows(), "left", 5, 3)
    features = model.features(tokens, LENGTHS, padding="left")
    expected = features @ model.head.weight.T + model.head.bias
    torch.testing.assert_close(model(tokens, LENGTHS, padding="left"), expected, rtol=1e-5, atol=1e-6)


COMPLEMENT = torch.tensor([3, 2, 1, 0, *range(4, 256)], dtype=torch.uint8)


def both_strands(mode: str) -> tuple[SequenceModel, SequenceModel]:
    """The same weights with and without the average over the strands."""
    forward = build(mode)
    decoder = DecoderConfig("classification", ("a", "b", "c"), mode, strand="both")
    both = SequenceModel(forward.config, decoder, backend="chunked").double()
    both.load_state_dict(forward.state_dict())
    return forward.eval(), both.eval()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("side", ["right", "left"])
def test_both_strands_are_averaged_outside_training(mode: str, side: Literal["right", "left"]) -> None:
    forward, both = both_strands(mode)
    others = [COMPLEMENT[row.long()].flip(0) for row in rows()]
    expected = torch.cat(
        [(forward(row[None]) + forward(other[None])) / 2 for row, other in zip(rows(), others, strict=True)]
    )
    logits = both(padded(rows(), side, 5, 3), LENGTHS, padding=side)
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(both(padded(others, side, 5, 3), LENGTHS, padding=side), logits)
    tokens = padded(rows(), "right", 0, 0)
    assert torch.equal(both.train()(tokens, LENGTHS), forward(tokens, LENGTHS))


@pytest.mark.parametrize("mode", MODES)
def test_pieces_of_both_strands_equal_the_whole(mode: str) -> None:
    _, model = both_strands(mode)
    tokens = torch.randint(0, 4, (2, 150), dtype=torch.uint8)
    other = COMPLEMENT[tokens.long()].flip(1)
    found = model.read(iter(tokens.split(64, dim=1)), iter(other.split(64, dim=1)))
    torch.testing.assert_close(found, model(tokens), rtol=1e-5, atol=1e-6)
    with pytest.raises(UserError, match="needs the pieces of the other too"):
        model.read([tokens])


PLAIN = ("classification", ("a", "b"), "mean", 0.0, 1.0, "forward", "forward", 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("ranking", ("a", "b")),
            "decoder.kind: must be one of classification, multitask",
        ),
        (
            ("classification", ("a", "b"), "first"),
            "decoder.mode: must be one of last, mean, next, attention, positions (got 'first')",
        ),
        (
            ("classification", ("a", "b"), "last", 0.0, 1.0, "-"),
            "decoder.strand: must be forward or both (got '-')",
        ),
        (("classification", ("a",)), "decoder.labels: must be at least 2 and all different"),
        (("multilabel", ("a", "a")), "decoder.labels: must be at least 1 and all different"),
        (("regression", ("y",), "last", 0.0, 0.0), "decoder.scale: must be positive (got 0.0)"),
        (("regression", ("y",), "last", 0.0, math.inf), "decoder.scale: must be positive (got inf)"),
        (("regression", ("y",), "last", math.nan), "decoder.shift: must be a finite number (got nan)"),
        ((*PLAIN, -3), "decoder.length: must be a number of bases from 1 on (got -3)"),
        ((*PLAIN, None, None, 0), "decoder.longest: must be a number of bases from 1 on (got 0)"),
        ((*PLAIN, None, None, 10**30), "decoder.longest: must be a number of bases from 1 on (got 1000"),
    ],
)
def test_a_decoder_that_makes_no_sense_is_refused(arguments: tuple, message: str) -> None:
    with pytest.raises(UserError) as error:
        DecoderConfig(*arguments)
    assert message in str(error.value)


def test_a_decoder_survives_a_dictionary() -> None:
    decoder = DecoderConfig("regression", ("expression",), "mean", 3.5, 0.25, "both")
    assert DecoderConfig.from_dict(decoder.to_dict()) == decoder
    with pytest.raises(UserError, match=r"unknown decoder setting depth; known are"):
        DecoderConfig.from_dict({**decoder.to_dict(), "depth": 3})
