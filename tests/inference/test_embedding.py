"""What `dnamamba.embed` promises: the same vector whatever is around a sequence, and for both its strands."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import dnamamba
from dnamamba import (
    DecoderConfig,
    Genome,
    LanguageModel,
    MambaConfig,
    SequenceModel,
    UserError,
    embed,
    get_alphabet,
)
from dnamamba.inference import streaming
from dnamamba.inference.contexts import EmbeddingConfig, Plan
from dnamamba.inference.inputs import Region

from .conftest import random_dna

DNA = get_alphabet("dna")
LENGTHS = (1, 3, 40, 41, 97, 200)
SEQUENCES = [random_dna(length, seed) for seed, length in enumerate(LENGTHS)]
SEQUENCES[0] = "A"


def hidden(model: LanguageModel, letters: str) -> NDArray[np.float32]:
    with torch.no_grad():
        return model.backbone(torch.from_numpy(DNA.encode(letters).copy())[None]).hidden[0].numpy()


def reverse_complement(letters: str) -> str:
    return DNA.decode(DNA.reverse_complement(DNA.encode(letters)))


def close(found: NDArray[np.float32], expected: NDArray[np.float32]) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-6)


@pytest.fixture(params=[16, 1 << 14], ids=["streamed", "batched"])
def piece(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Bases read at once: with few, all but the shortest sequences are streamed."""
    monkeypatch.setitem(streaming._PIECE, "cpu", request.param)
    return request.param


def test_mean_and_last_look_at_known_bases_only(model: LanguageModel, piece: int) -> None:
    mean, last = embed(model, SEQUENCES), embed(model, SEQUENCES, pooling="last")
    assert mean.shape == (6, 24)
    assert mean.dtype == np.float32
    for i, letters in enumerate(SEQUENCES):
        known = np.array([letter != "N" for letter in letters])
        states = hidden(model, letters)
        close(mean[i], states[known].mean(0))
        close(last[i], states[np.flatnonzero(known)[-1]])


def test_no_pooling_gives_every_base(model: LanguageModel, piece: int) -> None:
    found = embed(model, SEQUENCES, pooling="none")
    assert [len(states) for states in found] == list(LENGTHS)
    for states, letters in zip(found, SEQUENCES, strict=True):
        close(states, hidden(model, letters))


@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_a_batch_equals_each_alone(model: LanguageModel, pooling: str, piece: int) -> None:
    together = embed(model, SEQUENCES, pooling=pooling)
    for batch_size in (1, 2, 5):
        close(embed(model, SEQUENCES, pooling=pooling, batch_size=batch_size), together)
    close(np.concatenate([embed(model, [letters], pooling=pooling) for letters in SEQUENCES]), together)


@pytest.mark.parametrize("strand", ["forward", "both"])
@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_padding_on_either_side_changes_nothing(model: LanguageModel, pooling: str, strand: str) -> None:
    width = max(LENGTHS) + 9
    left = np.full((len(SEQUENCES), width), DNA.pad_id, dtype=np.uint8)
    right, both = left.copy(), left.copy()
    for row, letters in enumerate(SEQUENCES):
        ids = DNA.encode(letters)
        left[row, width - ids.size :] = ids
        right[row, : ids.size] = ids
        both[row, 4 : 4 + ids.size] = ids
    alone = np.concatenate([embed(model, [s], pooling=pooling, strand=strand) for s in SEQUENCES])
    for padded in (left, right, both):
        close(embed(model, padded, pooling=pooling, strand=strand), alone)


def test_both_strands_are_the_average(model: LanguageModel, piece: int) -> None:
    reverse = [reverse_complement(letters) for letters in SEQUENCES]
    for pooling in ("mean", "last"):
        expected = (embed(model, SEQUENCES, pooling=pooling) + embed(model, reverse, pooling=pooling)) / 2
        close(embed(model, SEQUENCES, pooling=pooling, strand="both"), expected)
    per_base = embed(model, SEQUENCES, pooling="none", strand="both")
    for states, letters, other in zip(per_base, SEQUENCES, reverse, strict=True):
        close(states, (hidden(model, letters) + hidden(model, other)[::-1]) / 2)


@pytest.mark.parametrize("pooling", ["mean", "last", "none"])
def test_strand_both_does_not_depend_on_given_strand(model: LanguageModel, pooling: str, piece: int) -> None:
    """Exactly: both readings are the same arithmetic, and an average does not know its order."""
    reverse = [reverse_complement(letters) for letters in SEQUENCES]
    ours = embed(model, SEQUENCES, pooling=pooling, strand="both")
    theirs = embed(model, reverse, pooling=pooling, strand="both")
    for a, b in zip(ours, theirs, strict=True):
        assert np.array_equal(a, b[::-1] if pooling == "none" else b)


@pytest.mark.parametrize("pooling", ["mean", "last"])
@pytest.mark.parametrize("strand", ["forward", "both"])
@pytest.mark.parametrize("every", [1, 7, 50, 1000])
def test_pool_every_pools_one_context(
    model: LanguageModel, pooling: str, strand: str, every: int, piece: int
) -> None:
    letters = SEQUENCES[-1][:150] + "N" * 60 + SEQUENCES[-1]
    found = embed(model, [letters], pool_every=every, pooling=pooling, strand=strand)
    readings = [(hidden(model, letters), 1)]
    if strand == "both":
        readings.append((hidden(model, reverse_complement(letters))[::-1], -1))
    known = np.array([letter != "N" for letter in letters])
    assert len(found) == -(-len(letters) // every)
    for row, start in zip(found, range(0, len(letters), every), strict=True):
        inside = known[start : start + every]
        if not inside.any():
            assert np.isnan(row).all()
            continue
        pooled = [
            states[start : start + every][inside].mean(0)
            if pooling == "mean"
            else states[start : start + every][inside][-1 if step == 1 else 0]
            for states, step in readings
        ]
        close(row, np.mean(pooled, axis=0))


def test_pool_every_of_both_strands_mirrors(model: LanguageModel, piece: int) -> None:
    letters = random_dna(180)
    for every in (1, 9, 60, 180):
        ours = embed(model, [letters], pool_every=every, strand="both")
        theirs = embed(model, [reverse_complement(letters)], pool_every=every, strand="both")
        assert np.array_equal(ours, theirs[::-1], equal_nan=True)


def test_windows_are_contexts_of_their_own(model: LanguageModel) -> None:
    letters = random_dna(230)
    found, regions = embed(model, [letters, "ACGT"], window=100, stride=40, return_regions=True)
    assert [(r.record, r.start, r.end) for r in regions] == [
        ("0", 0, 100), ("0", 40, 140), ("0", 80, 180), ("0", 120, 220), ("0", 160, 230), ("1", 0, 4),
    ]  # fmt: skip
    cut = [letters[r.start : r.end] if r.record == "0" else "ACGT" for r in regions]
    close(found, embed(model, cut))
    assert len(embed(model, [letters], window=100)) == 3


@given(length=st.integers(1, 60), window=st.integers(1, 25), stride=st.integers(1, 40))
def test_windows_lie_in_their_region(length: int, window: int, stride: int) -> None:
    plan = Plan([Region("0", 100, 100 + length)], EmbeddingConfig(window=window, stride=stride))
    starts, ends = (plan.start - 100).tolist(), (plan.end - 100).tolist()
    assert starts == [number * stride for number in range(len(starts))]
    assert all(start < end <= min(start + window, length) for start, end in zip(starts, ends, strict=True))
    read = {base for start, end in zip(starts, ends, strict=True) for base in range(start, end)}
    assert read == {base for base in range(length) if base % stride < window or stride <= window}


def test_layers(model: LanguageModel) -> None:
    letters = random_dna(30).replace("N", "C")
    table = model.backbone.embedding.weight.detach().numpy()
    close(embed(model, [letters], layer=0)[0], table[DNA.encode(letters)].mean(0))
    assert np.array_equal(embed(model, [letters], layer=3), embed(model, [letters]))
    assert np.array_equal(embed(model, [letters], layer=-2), embed(model, [letters], layer=2))
    assert not np.allclose(embed(model, [letters], layer=2), embed(model, [letters]))


def test_a_sequence_of_n_has_no_embedding(model: LanguageModel) -> None:
    found = embed(model, ["NNNN", "ACGT"])
    assert np.isnan(found[0]).all()
    close(found[1:], embed(model, ["ACGT"]))


def test_n_is_not_a_base_of_alphabet_bytes() -> None:
    torch.manual_seed(0)
    model = LanguageModel(MambaConfig(16, 1, alphabet="bytes", vocab_size=256))
    states = embed(model, ["ACnGTN"], pooling="none")[0]
    close(embed(model, ["ACnGTN"])[0], states[[0, 1, 3, 4]].mean(0))


@pytest.fixture
def bed(tmp_path: Path) -> Path:
    path = tmp_path / "regions.bed"
    path.write_text("# a comment\ntwo\t10\t60\tgene\none\t450\t760\ntwo\t0\t1000\twhole\n")
    return path


def test_regions_of_a_fasta(model: LanguageModel, genome: Path, bed: Path) -> None:
    letters = {name: DNA.decode(Genome(genome, DNA).fetch(name)) for name in ("one", "two", "three")}
    found, regions = embed(model, (genome, bed), return_regions=True)
    assert regions == [
        ("two", 10, 60, "gene", "+"),
        ("one", 450, 760, "", "+"),
        ("two", 0, 1000, "whole", "+"),
    ]
    close(found, embed(model, [letters[r.record][r.start : r.end] for r in regions]))
    close(embed(model, (str(genome), [("two", 10, 60)])), found[:1])
    close(embed(model, genome), embed(model, list(letters.values())))
    close(embed(model, Genome(genome, DNA)), embed(model, str(genome)))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            "two\t990\t1001",
            r"row 3: ends at 1,001, but record two of .*genome.fa has 1,000 bases",
        ),
        ("four\t0\t10", r"row 3: .*genome.fa has no record 'four'"),
        ("two\t10\tx", r"row 3: '10' to 'x' is not a range"),
    ],
)
def test_a_bed_row_outside_the_genome(
    model: LanguageModel, genome: Path, tmp_path: Path, row: str, message: str
) -> None:
    path = tmp_path / "bad.bed"
    path.write_text(f"one\t0\t10\n\n{row}\n")
    with pytest.raises(UserError, match=rf"bad.bed, {message}") as error:
        embed(model, (genome, path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ([], "there are no sequences to read"),
        (["ACGT", ""], "sequence 1 is empty"),
        (["ACGT", "AC!T"], "sequence 1: '!' at position 3 is not a nucleotide code"),
        ([np.zeros(4)], r"sequence 0: must be letters, or ids as uint8 \[L\] \(got float64 \[4\]\)"),
        ([np.full(4, 5, dtype=np.uint8)], "sequence 0 is empty"),
        ("ACGTACGT", "ACGTACGT: no such file; if this is a sequence, give it in a list"),
        ("absent.fa", "absent.fa: no such file"),
        (("ACGT", "ACG", "AC"), r"give sequences in a list, not a tuple of 3; a pair is \(fasta, bed\)"),
    ],
)
def test_a_source_that_cannot_be_read(model: LanguageModel, source: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        embed(model, source)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pooling": "max"}, r"pooling: must be one of mean, last, next, head, none \(got 'max'\)"),
        ({"strand": "reverse"}, r"strand: must be one of forward, both \(got 'reverse'\)"),
        ({"stride": 5}, "stride=5 needs a window"),
        ({"window": 0}, r"window: must be at least 1 \(got 0\)"),
        ({"window": 5, "pool_every": 5}, "use it without window and without pooling=none"),
        ({"layer": 9}, "layer 9: the model has layers"),
        ({"batch_size": 0}, r"batch_size: must be auto or at least 1 \(got 0\)"),
    ],
)
def test_an_option_out_of_range(model: LanguageModel, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        embed(model, ["ACGT"], **options)


def test_the_function_is_public() -> None:
    assert dnamamba.embed is embed
    assert callable(dnamamba.embed)


def tuned(pretrained: LanguageModel, mode: str, **settings: Any) -> SequenceModel:
    asked = DecoderConfig("classification", ("a", "b"), mode, **settings)
    made = SequenceModel(pretrained.config, asked).eval()
    made.backbone.load_state_dict(pretrained.backbone.state_dict())
    return made


@pytest.mark.parametrize("context", ["forward", "both"])
@pytest.mark.parametrize("strand", ["forward", "both"])
def test_a_head_reads_the_vectors_that_embed_gives(
    model: LanguageModel, strand: str, context: str, piece: int
) -> None:
    sequences = ["ACGTACGTTAGC", "ACGNNNTTAGCAATGCNC", "GGC"]
    for mode, conv in (("mean", 0), ("last", 0), ("next", 0), ("mean", 1), ("attention", 0)):
        if (mode, context) == ("last", "both"):
            continue
        head = tuned(model, mode, strand=strand, context=context, conv=conv)
        with torch.no_grad():
            read = [head.features(torch.from_numpy(DNA.encode(s).copy())[None])[0].numpy() for s in sequences]
        ways = [embed(head, sequences, pooling="head", batch_size=2)]
        if mode != "attention" and not conv:
            ways.append(embed(model, sequences, pooling=mode, strand=strand, context=context))
        for found in ways:
            np.testing.assert_allclose(found, read, rtol=1e-5, atol=1e-6)


def test_context_both_joins_strands_base_by_base(model: LanguageModel, piece: int) -> None:
    letters = SEQUENCES[-1]
    ahead, back = hidden(model, letters), hidden(model, reverse_complement(letters))[::-1]
    states = np.concatenate([ahead, back], 1)
    close(embed(model, [letters], pooling="none", context="both")[0], states)
    known = np.array([letter != "N" for letter in letters])
    bins = [states[i : i + 50][known[i : i + 50]].mean(0) for i in range(0, len(letters), 50)]
    close(embed(model, [letters], pool_every=50, context="both"), np.array(bins))
    # By the definition: of each base, the states of the positions before it, a share of the known bases.
    before = np.array([[letter == base for letter in letters[1:]] for base in "ACGT"])
    close(
        embed(model, [letters], pooling="next", context="both")[0],
        (before @ states[:-1]).ravel() / known.sum(),
    )
    assert np.isnan(embed(model, ["NN"], pooling="next", context="both")).all()


def test_vectors_of_a_head_have_its_settings_alone(model: LanguageModel) -> None:
    head = tuned(model, "positions", length=4)
    for options, message in (
        (
            {"strand": "both"},
            r"^strand: with pooling=head it is the model's, forward \(got both\); leave it out$",
        ),
        ({"layer": 1}, r"^layer: a head reads the last one, -1 \(got 1 with pooling=head\)$"),
        ({"pool_every": 2}, r"^pool_every: bins have a mean or last vector \(got pooling=head\)$"),
    ):
        with pytest.raises(UserError, match=message):
            embed(head, ["ACGT"], pooling="head", **options)
    with pytest.raises(UserError, match=r"on sequences of 4 bases \(got 5\); give sequences of that length"):
        embed(head, ["ACGTA"], pooling="head")
    with pytest.raises(UserError, match=r"^pooling=head: this is a pretrained model without a head"):
        embed(model, ["ACGT"], pooling="head")
    with pytest.raises(UserError, match=r"^context=both with pooling=last: where one strand ends"):
        embed(model, ["ACGT"], pooling="last", context="both")
