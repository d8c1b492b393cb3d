"""Rows of different lengths read one behind the other: answers and gradients are those of padded rows."""

import pytest
import torch
from torch import Tensor

from dnamamba import UserError
from dnamamba.models import DecoderConfig, LanguageModel, MambaConfig, SequenceModel, packing
from dnamamba.models.transformer.config import TransformerConfig
from dnamamba.training.lora import add_adapters
from tests.kernels.packed import cumulative

pytest.importorskip("numba", reason="the backend that packs on a CPU")
LENGTHS = torch.tensor([1, 70, 3, 64, 9])


def rows(side: str = "right") -> Tensor:
    tokens = torch.randint(0, 4, (5, 72), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    place = torch.arange(72)
    real = place < LENGTHS[:, None] if side == "right" else place >= 72 - LENGTHS[:, None]
    return torch.where(real, tokens, torch.tensor(4, dtype=torch.uint8))


def model(backend: str = "auto", **decoder: object) -> SequenceModel:
    torch.manual_seed(0)
    config = MambaConfig(d_model=16, n_layer=2)
    return SequenceModel(config, DecoderConfig("classification", ("a", "b"), **decoder), backend)  # type: ignore[arg-type]


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Return a list that grows by what a backbone reads: rows and positions."""
    seen = []
    forward = packing.Backbone.__call__

    def watched(self, tokens, *given, **options):  # type: ignore[no-untyped-def]
        seen.append(tuple(tokens.shape))
        return forward(self, tokens, *given, **options)

    monkeypatch.setattr(packing.Backbone, "__call__", watched)
    return seen


def outcome(net: SequenceModel, side: str) -> list[Tensor]:
    logits = net(rows(side), LENGTHS, padding=side)
    gradients = torch.autograd.grad(logits.square().sum(), [p for p in net.parameters() if p.requires_grad])
    return [logits, *gradients]


@pytest.mark.parametrize(
    ("side", "decoder"),
    [
        ("right", {"mode": "mean"}),
        ("left", {"mode": "last"}),
        ("right", {"mode": "next", "strand": "both"}),
        ("right", {"mode": "attention", "context": "both"}),
        ("left", {"mode": "mean", "conv": 1}),
    ],
    ids=lambda x: "-".join(map(str, x.values())) if isinstance(x, dict) else x,
)
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_packed_rows_answer_as_padded_ones(
    side: str,
    decoder: dict[str, object],
    training: bool,
    sizes: list[tuple[int, int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    net = model(**decoder).train(training)
    packed = outcome(net, side)
    assert sizes
    assert all(count == 1 for count, _ in sizes)
    assert max(positions for _, positions in sizes) == (320 if decoder.get("context") == "both" else 192)
    monkeypatch.setattr(packing, "WORTH_FROM", 0)
    for ours, padded in zip(packed, outcome(net, side), strict=True):
        torch.testing.assert_close(ours, padded, rtol=2e-5, atol=1e-6)
    assert sizes[-1][0] > 1


def test_packed_answers_are_the_same_bit_for_bit_again() -> None:
    net = model(mode="mean")
    for one, again in zip(outcome(net, "right"), outcome(net, "right"), strict=True):
        assert torch.equal(one, again)


def test_recomputed_blocks_start_anew_too() -> None:
    net = model(mode="mean")
    kept = outcome(net, "right")
    net.backbone.activation_checkpointing = True
    for one, other in zip(kept, outcome(net, "right"), strict=True):
        assert torch.equal(one, other)


def test_adapters_read_packed_rows_as_padded_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    net = model(mode="mean")
    add_adapters(net, 2, 4)
    packed = outcome(net, "right")
    monkeypatch.setattr(packing, "WORTH_FROM", 0)
    for ours, padded in zip(packed, outcome(net, "right"), strict=True):
        torch.testing.assert_close(ours, padded, rtol=2e-5, atol=1e-6)


def test_backend_that_loses_by_packing_reads_padded_rows(sizes: list[tuple[int, int]]) -> None:
    model("chunked", mode="mean")(rows(), LENGTHS)
    assert sizes == [(5, 72)]


def test_rows_with_little_padding_stay_padded(sizes: list[tuple[int, int]]) -> None:
    net = model(mode="mean")
    net(rows(), torch.tensor([72, 72, 70, 72, 71]))
    assert sizes == [(5, 72)]


def test_cumulative_lengths_read_a_language_model_one_by_one() -> None:
    net = LanguageModel(MambaConfig(d_model=16, n_layer=2)).double()
    tokens = torch.randint(0, 4, (1, 12), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    logits = net(tokens, cu_seqlens=cumulative([5, 1, 6])).logits
    alone = torch.cat([net(part).logits for part in tokens.split([5, 1, 6], 1)], 1)
    torch.testing.assert_close(logits, alone, rtol=1e-12, atol=1e-12)


def test_a_family_that_cannot_pack_refuses_cumulative_lengths(sizes: list[tuple[int, int]]) -> None:
    config = TransformerConfig(d_model=32, n_layer=1)
    with pytest.raises(UserError, match="needs a model that is packable, and the family transformer"):
        LanguageModel(config)(rows()[:1], cu_seqlens=cumulative([72]))
    decoder = DecoderConfig("classification", ("a", "b"), mode="mean")
    SequenceModel(config, decoder)(rows(), LENGTHS)
    assert sizes == [(5, 72)]
