"""Answers at every base: pieces equal the whole, both strands, bins, convolutions, files."""

from pathlib import Path

import pytest
import torch

from dnamamba import MambaConfig, UserError, load, save_model
from dnamamba.models import PositionConfig, PositionModel
from dnamamba.models.position_reading import read_positions
from dnamamba.models.transformer.config import TransformerConfig

LABELS = ("none", "a+", "a-")


def model_of(context: str = "both", conv: int = 2, **settings: object) -> PositionModel:
    torch.manual_seed(3)
    decoder = PositionConfig(
        "base_classes",
        LABELS,
        (0, 2, 1),
        16,
        context=context,
        conv=conv,
        **settings,  # type: ignore[arg-type]
    )
    return PositionModel(MambaConfig(d_model=8, n_layer=2), decoder).double().eval()


@pytest.mark.parametrize(("context", "conv"), [("forward", 0), ("both", 0), ("forward", 1), ("both", 3)])
@pytest.mark.parametrize("piece", [5, 16, 100])
def test_record_read_in_pieces_equals_one_pass(context: str, conv: int, piece: int) -> None:
    model = model_of(context, conv)
    tokens = torch.randint(0, 5, (67,), dtype=torch.uint8)  # N among them
    parts = list(read_positions(model, tokens, piece))
    assert [part.start for part in parts] == sorted(part.start for part in parts)
    found = torch.cat([part.logits for part in parts])
    # The other strand waits in float32.
    torch.testing.assert_close(found, model(tokens[None]).logits[0], rtol=1e-6, atol=1e-6)


def test_family_without_state_answers_from_the_middle_of_windows() -> None:
    """Windows of 16 bases, each 8 behind the last: all but the ends are read with 4 bases on either side."""
    torch.manual_seed(3)
    decoder = PositionConfig("base_classes", LABELS, (0, 2, 1), 16)
    model = PositionModel(TransformerConfig(8, 1, d_head=4, bidirectional=True), decoder).eval()
    tokens = torch.randint(0, 4, (43,), dtype=torch.uint8)
    found = torch.cat([part.logits for part in read_positions(model, tokens)])
    spans = [(0, 12, 0), (12, 20, 8), (20, 28, 16), (28, 36, 24), (36, 43, 27)]
    for first, last, start in spans:
        expected = model(tokens[None, start : start + 16]).logits[0, first - start : last - start]
        torch.testing.assert_close(found[first:last], expected)
    short = tokens[:9]
    torch.testing.assert_close(
        torch.cat([part.logits for part in read_positions(model, short)]), model(short[None]).logits[0]
    )


def test_both_contexts_read_what_lies_to_the_right() -> None:
    tokens = torch.randint(0, 4, (1, 40))
    changed = tokens.clone()
    changed[0, -1] = 3 - changed[0, -1]
    for context, differs in (("forward", False), ("both", True)):
        model = model_of(context, 0)
        same = torch.equal(model(tokens).logits[:, 0], model(changed).logits[:, 0])
        assert same is not differs


def test_answer_at_a_base_does_not_read_unknown_ones() -> None:
    """Hidden states of N are zeros: the answer there is the bias."""
    model = model_of("forward", 0)
    logits = model(torch.tensor([[0, 4, 2]])).logits[0]
    torch.testing.assert_close(logits[1], model.head.bias)


def test_saved_model_answers_as_before(tmp_path: Path) -> None:
    model = model_of().float()
    save_model(model, tmp_path / "m")
    again = load(tmp_path / "m")
    assert isinstance(again, PositionModel)
    assert again.decoder == model.decoder
    tokens = torch.randint(0, 4, (2, 16))
    assert torch.equal(again(tokens).logits, model(tokens).logits)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"context": "left"}, "decoder.context: must be forward or both"),
        ({"conv": 11}, r"between 0 and 10 convolutions \(got 11\)"),
        ({"bin": 129}, r"data.bin_size: must lie between 1 and 128 bases \(got 129\)"),
        ({"bin": 3}, r"not a whole number of bins of 3 bases \(got 16\)"),
    ],
)
def test_unusable_question_is_one_line(settings: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        model_of(**settings)  # type: ignore[arg-type]
