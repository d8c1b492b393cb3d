"""A record read in pieces equals one forward pass, in both directions, and costs no memory for its length."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dnamamba import LanguageModel, UserError, get_alphabet
from dnamamba.inference.streaming import Reader, fetched
from dnamamba.models.reading import spans
from tests import processes

from .conftest import random_dna

DNA = get_alphabet("dna")
IDS = DNA.encode(random_dna(1_000))


@pytest.mark.parametrize("piece", [1, 7, 64, 333, 999, 1000, 5000])
@pytest.mark.parametrize("reverse", [False, True])
def test_streamed_logits_equal_one_shot(model: LanguageModel, piece: int, reverse: bool) -> None:
    ids = IDS if piece > 7 else IDS[:150]
    strand = DNA.reverse_complement(ids) if reverse else ids
    with torch.no_grad():
        whole = model(torch.from_numpy(strand.copy())[None]).logits
    read = list(Reader(model, piece=piece).stream(ids, reverse=reverse, logits=True))
    torch.testing.assert_close(torch.cat([p.output for p in read], dim=1), whole, rtol=1e-5, atol=2e-6)
    assert torch.equal(torch.cat([p.tokens for p in read], dim=1)[0], torch.from_numpy(strand.copy()))
    for p in read:
        stretch = ids[p.start : p.end]
        assert np.array_equal(DNA.reverse_complement(stretch) if reverse else stretch, p.tokens[0].numpy())


@pytest.mark.parametrize("layer", [0, 1, 2, 3, -1, -2])
def test_streamed_hidden_states_of_every_layer(model: LanguageModel, layer: int) -> None:
    with torch.no_grad():
        tokens = torch.from_numpy(IDS.copy())[None]
        x = model.backbone.embedding(tokens.int())
        depth = layer % 4
        for block in model.backbone.layers[:depth]:
            x = block(x)[0]
        expected = model.backbone.norm_f(x) if depth == 3 else x
    read = Reader(model, piece=129).stream(IDS, layer=layer)
    torch.testing.assert_close(torch.cat([p.output for p in read], dim=1), expected, rtol=1e-5, atol=2e-6)


def test_stream_resumes_from_a_state(model: LanguageModel) -> None:
    reader = Reader(model, piece=100)
    whole = torch.cat([p.output for p in reader.stream(IDS)], dim=1)
    _, state = reader.hidden(reader.to_device(IDS[:437])[None])
    rest = torch.cat([p.output for p in reader.stream(IDS[437:], state=state)], dim=1)
    torch.testing.assert_close(rest, whole[:, 437:], rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("layer", [4, -5, 100])
def test_a_layer_that_is_not_there(model: LanguageModel, layer: int) -> None:
    with pytest.raises(
        UserError, match=rf"^layer {layer}: the model has layers 0 \(the embedding\) to 3, or -1"
    ):
        Reader(model).blocks(layer)


def test_an_unknown_precision(model: LanguageModel) -> None:
    with pytest.raises(UserError, match="precision=half: choose auto, fp32 or bf16"):
        Reader(model, precision="half")


def test_bf16_is_within_its_error(model: LanguageModel) -> None:
    exact = torch.cat([p.output for p in Reader(model, piece=300).stream(IDS)], dim=1)
    rough = torch.cat([p.output for p in Reader(model, piece=300, precision="bf16").stream(IDS)], dim=1)
    error = ((rough - exact).norm() / exact.norm()).item()
    assert 1e-5 < error < 2e-2


@settings(max_examples=300, deadline=None)
@given(
    length=st.integers(1, 500),
    size=st.integers(1, 200),
    align=st.none() | st.integers(1, 300),
    reverse=st.booleans(),
)
def test_pieces_cover_everything_in_order(length: int, size: int, align: int | None, reverse: bool) -> None:
    found = list(spans(length, size, align, reverse))
    assert [i for start, end in (found[::-1] if reverse else found) for i in range(start, end)] == list(
        range(length)
    )
    for start, end in found:
        assert 0 < end - start <= size
        if align is not None and end - start < length and start // align != (end - 1) // align:
            assert start % align == 0
            assert end % align == 0 or end == length
    if align is None or length % align == 0:
        mirrored = [(length - end, length - start) for start, end in spans(length, size, align, not reverse)]
        assert found == mirrored


def test_fetched_keeps_the_order() -> None:
    results = fetched((i, (torch.tensor([i, 2 * i]), torch.tensor(0.5))) for i in range(5))
    assert [(key, a.tolist(), float(b)) for key, (a, b) in results] == [
        (i, [i, 2 * i], 0.5) for i in range(5)
    ]


MEMORY = """
import resource, sys, numpy as np, torch
from dnamamba import embed
from dnamamba.models import LanguageModel, MambaConfig

torch.set_num_threads(1)
torch.manual_seed(0)
model = LanguageModel(MambaConfig(d_model=32, n_layer=1, d_state=4))
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

def read(length):
    ids = np.random.default_rng(0).integers(0, 4, length, dtype=np.uint8)
    embed(model, [ids], strand="both", pool_every=1000)
    embed(model, [ids])

read(1 << 15)
before = peak()
read(1 << 18)
print(peak() - before)
"""


def test_memory_does_not_grow_with_length() -> None:
    """Eight times the bases. One pass over all of them would hold 300 MiB, its hidden states alone 32."""
    done = processes.run("-c", MEMORY)
    assert done.returncode == 0, done.stderr
    kilobytes = int(done.stdout)
    assert kilobytes < 24 << 10, f"{kilobytes / 1024:.1f} MiB more"
