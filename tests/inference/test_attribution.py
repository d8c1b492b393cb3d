"""Attributions in float64: against finite differences, against sums, against what score says."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from dnamamba import LanguageModel, MambaConfig, SequenceModel, UserError
from dnamamba.data.alphabet import get_alphabet
from dnamamba.data.fasta import Genome
from dnamamba.data.intervals import Interval
from dnamamba.inference.attribution import attribute, gradient, integrated
from dnamamba.inference.one_hot import OneHotModel, one_hot_of
from dnamamba.inference.variants import score_variants
from dnamamba.models import DecoderConfig
from dnamamba.models.caduceus.config import CaduceusConfig

LETTERS = "ACGTTGCANGATTACAGGCATTAGC"
CLASSES = DecoderConfig("classification", ("a", "b", "c"), "mean")
QUESTIONS = {
    "mean": CLASSES,
    "both strands": dataclasses.replace(CLASSES, strand="both"),
    "joined strands": dataclasses.replace(CLASSES, context="both", conv=1),
    "positions": dataclasses.replace(CLASSES, mode="positions", length=len(LETTERS)),
    "regression": DecoderConfig("regression", ("value",), "mean", shift=2.0, scale=3.0),
}
SHAPE = MambaConfig(d_model=8, n_layer=1)


def language_model() -> LanguageModel:
    torch.manual_seed(0)
    model = LanguageModel(SHAPE).double().eval()
    # Embeddings of the published size are so small that everything is linear.
    torch.nn.init.normal_(model.backbone.embedding.weight)
    return model


def sequence_model(name: str, shape: MambaConfig | CaduceusConfig = SHAPE) -> SequenceModel:
    torch.manual_seed(0)
    model = SequenceModel(shape, QUESTIONS[name]).double().eval()
    torch.nn.init.normal_(model.backbone.embedding.weight)
    return model


@pytest.fixture(scope="module")
def genome(tmp_path_factory: pytest.TempPathFactory) -> Genome:
    path = tmp_path_factory.mktemp("genome") / "g.fa"
    path.write_text(f">one\n{LETTERS}\n")
    return Genome(path, get_alphabet("dna"))


def ids() -> np.ndarray:
    return get_alphabet("dna").encode(LETTERS)


def x_of() -> Tensor:
    return one_hot_of(ids(), "dna", torch.float64)


@pytest.mark.parametrize("name", QUESTIONS)
def test_one_hot_answer_is_the_models_own(name: str) -> None:
    model = sequence_model(name)
    tokens = torch.from_numpy(ids().copy())[None]
    known = tokens.clone()
    known[0, 8] = 0  # where N stands, which alone is not pooled by the model
    x = x_of()
    x[0, 0, 8] = 1
    torch.testing.assert_close(OneHotModel(model)(x), model(known), rtol=1e-10, atol=1e-12)
    flipped = get_alphabet("dna").reverse_complement(known.numpy())
    other = model(torch.from_numpy(flipped.copy()))
    torch.testing.assert_close(OneHotModel(model, reverse=True)(x), other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", ["ph", "ps"])
def test_one_hot_answer_of_caduceus_is_its_own(kind: str) -> None:
    shape = CaduceusConfig(d_model=8, n_layer=1, equivariant=kind == "ps")
    model = sequence_model("joined strands", shape)
    tokens = torch.randint(0, 4, (2, 12))
    x = torch.cat([one_hot_of(row.numpy().astype(np.uint8), "dna", torch.float64) for row in tokens])
    torch.testing.assert_close(OneHotModel(model)(x), model(tokens), rtol=1e-10, atol=1e-12)


def test_one_hot_likelihood_is_that_of_all_bases() -> None:
    model, tokens = language_model(), torch.from_numpy(ids().copy())[None].long()
    with torch.no_grad():
        each = model(tokens).logits.log_softmax(-1)[0, :-1].gather(1, tokens[0, 1:, None])[:, 0]
        found = OneHotModel(model)(x_of())
    assert found.item() == pytest.approx((each.sum() - each[7]).item(), rel=1e-12)  # all but the N


@pytest.mark.parametrize("name", ["likelihood", *QUESTIONS])
def test_gradient_is_that_of_finite_differences(name: str) -> None:
    model = language_model() if name == "likelihood" else sequence_model(name)
    one_hot = OneHotModel(model)

    def answer(x: Tensor) -> Tensor:
        return one_hot(x)[:, 0]

    x, step = x_of(), 1e-5
    found = gradient(answer, x)[0].flatten()
    moves = step * torch.eye(found.numel(), dtype=torch.float64).reshape(-1, 4, len(LETTERS))
    with torch.no_grad():
        slow = (answer(x + moves) - answer(x - moves)) / (2 * step)
    torch.testing.assert_close(found, slow, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", ["likelihood", "both strands", "regression"])
def test_integrated_gradients_sum_to_the_difference(name: str) -> None:
    one_hot = OneHotModel(language_model() if name == "likelihood" else sequence_model(name))
    x = x_of()
    found, gap, _ = integrated(lambda given: one_hot(given)[:, 0], x, 1e-9)
    with torch.no_grad():
        difference = one_hot(x)[0, 0] - one_hot(torch.zeros_like(x))[0, 0]
    assert found.sum().item() == pytest.approx(difference.item(), abs=1e-6)
    assert gap < 1e-6
    assert abs(difference.item()) > 1e-3
    # What is not there has no share.
    assert found[x == 0].abs().max() == 0


@pytest.mark.parametrize("strand", ["forward", "reverse", "both"])
def test_mutagenesis_equals_scores_of_the_same_window(genome: Genome, strand: str) -> None:
    model, region = language_model(), Interval("one", 6, 12)
    found = attribute(model, genome, region, "ism", context=100, strand=strand)
    for row, letter in enumerate(LETTERS[6:12]):
        for column, alt in enumerate("ACGT"):
            if letter == "N":
                assert np.isnan(found.values[row, column])
            elif alt == letter:
                assert found.values[row, column] == 0
            else:
                variants = [("one", 7 + row, letter, alt)]
                scored = score_variants(model, genome, variants, window=200, strand=strand)
                assert found.values[row, column] == pytest.approx(scored.llr[0], rel=1e-9, abs=1e-12)
    means = -found.values.sum(1) / 3
    np.testing.assert_array_equal(found.contribution, means)


def test_mutagenesis_of_a_class_is_in_log_odds(genome: Genome) -> None:
    model = sequence_model("both strands")
    found = attribute(model, genome, Interval("one", 3, 5), "ism", context=100, label="b")
    (effect,) = score_variants(
        model, genome, [("one", 4, "T", "G")], window=200, strand="forward", label="b"
    ).llr
    assert found.values[0, 2] == pytest.approx(effect, rel=1e-9)
    assert found.unit == "natural log odds"


def test_contributions_are_those_of_the_whole_context(genome: Genome) -> None:
    """A region's gradients are a cut of those of its sequence, its integrated gradients as well."""
    model = language_model()
    whole, part = Interval("one", 0, len(LETTERS)), Interval("one", 9, 14)
    for method in ("gradient", "integrated"):
        all_of_it = attribute(model, genome, whole, method, strand="both")
        some = attribute(model, genome, part, method, strand="both")
        np.testing.assert_allclose(some.values, all_of_it.values[9:14], rtol=1e-9, atol=1e-12)
        assert np.isnan(all_of_it.contribution[8])
        assert some.letters == "GATTA"
    base = attribute(model, genome, part, "gradient")
    np.testing.assert_allclose(base.values.sum(1), 0, atol=1e-9)
    assert base.contribution[0] == base.values[0, "ACGT".index("G")]


def test_attribution_refusals_are_one_line(genome: Genome) -> None:
    model, region = language_model(), Interval("one", 0, 4)
    following = SequenceModel(SHAPE, dataclasses.replace(CLASSES, mode="next")).double()
    masked = LanguageModel(CaduceusConfig(d_model=8, n_layer=1)).double()
    for match, call in (
        (r"method: must be one of .* \(got 'x'\)", lambda: attribute(model, genome, region, "x")),
        (r"strand: must be", lambda: attribute(model, genome, region, strand="x")),
        (r"context: must be at least 0 \(got -1\)", lambda: attribute(model, genome, region, context=-1)),
        (r"decoder\.mode=next", lambda: attribute(following, genome, region, "gradient", label="a")),
        (r"needs a model that is causal", lambda: attribute(masked, genome, region, "gradient")),
        (r"x: expected weights \[B, 4, L\]", lambda: OneHotModel(model)(torch.zeros(1, 5, 4))),
    ):
        with pytest.raises(UserError, match=match) as error:
            call()
        assert "\n" not in str(error.value)


def test_lower_case_bases_are_replaced_within_their_case(tmp_path: Path) -> None:
    """Of an alphabet with two cases, mutagenesis was 0 at every soft-masked base."""
    (tmp_path / "g.fa").write_text(">one\nACgtTN\n")
    alphabet = get_alphabet("bytes")
    shape = MambaConfig(d_model=8, n_layer=1, alphabet="bytes", vocab_size=256)
    model = sequence_model("regression", shape)
    region = Interval("one", 0, 6)
    found = attribute(model, Genome(tmp_path / "g.fa", alphabet), region, "ism", context=0, strand="forward")

    def answer(letters: str) -> float:
        with torch.no_grad():
            logits = model(torch.from_numpy(alphabet.encode(letters).copy())[None])
        return model.decoder.head.predict(logits).item()

    expected = [answer(f"AC{base}tTN") - answer("ACgtTN") for base in "acgt"]
    np.testing.assert_allclose(found.values[2], expected, rtol=1e-9, atol=1e-12)
    assert np.abs(found.values[:5].sum(1)).min() > 1e-6
    assert np.isnan(found.values[5]).all()


@pytest.mark.parametrize("method", ["gradient", "integrated"])
@pytest.mark.parametrize(
    ("letters", "place"), [("ACgTTN", "one:3: .*got 'g'"), ("ACGTRN", "one:5: .*got 'R'")]
)
def test_letters_that_one_hot_lacks_are_refused(
    tmp_path: Path, method: str, letters: str, place: str
) -> None:
    """Of an alphabet of bytes, gradients were those of the sequence in upper case, with N for other codes."""
    (tmp_path / "g.fa").write_text(f">one\n{letters}\n>two\nACGTTN\n")
    genome = Genome(tmp_path / "g.fa", get_alphabet("bytes"))
    model = sequence_model("regression", MambaConfig(d_model=8, n_layer=1, alphabet="bytes", vocab_size=256))
    with pytest.raises(UserError, match=rf"{place}, alphabet 'bytes'\); use method=ism"):
        attribute(model, genome, Interval("one", 5, 6), method, context=5)
    assert np.isfinite(attribute(model, genome, Interval("two", 0, 5), method, context=1).contribution).all()


def test_integrated_gradients_far_from_zero_keep_digits(genome: Genome) -> None:
    """In float32 the answers about 10,000 have steps of 0.001, and their difference was wrong by as much."""
    near = sequence_model("regression").float()
    found = []
    for shift in (0.0, 1e4):
        decoder = dataclasses.replace(near.decoder, shift=shift, scale=0.01)
        far = SequenceModel(SHAPE, decoder)
        far.load_state_dict(near.state_dict())
        found.append(attribute(far, genome, Interval("one", 0, 25), "integrated", strand="forward"))
    assert found[1].difference == pytest.approx(found[0].difference, rel=1e-6)
    assert 0 < abs(found[0].difference) < 0.1
    np.testing.assert_allclose(found[1].values, found[0].values, rtol=1e-9, equal_nan=True)
