"""Effects of variants equal two forwards of two whole windows, whatever is shared or batched."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dnamamba import Genome, LanguageModel, MambaConfig, UserError, get_alphabet
from dnamamba.data.intervals import Interval
from dnamamba.inference import effects as effects_module
from dnamamba.inference import likelihood as likelihood_module
from dnamamba.inference.saturation import saturate
from dnamamba.inference.variants import score_variants

DNA = get_alphabet("dna")
LENGTH = 400


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    torch.manual_seed(0)
    model = LanguageModel(MambaConfig(d_model=16, n_layer=2))
    torch.nn.init.normal_(model.backbone.embedding.weight, std=0.1)
    return model.double()


@pytest.fixture(scope="module")
def text() -> str:
    letters = np.random.default_rng(1).choice(list("ACGT"), LENGTH)
    letters[150:156] = "N"
    letters[200:260] = np.char.lower(letters[200:260])
    return "".join(letters)


@pytest.fixture(scope="module")
def genome(text: str, tmp_path_factory: pytest.TempPathFactory) -> Genome:
    path = tmp_path_factory.mktemp("variants") / "genome.fa"
    path.write_text(f">chr1\n{text}\n>tiny\nG\n")
    return Genome(path, DNA)


@cache  # the reference windows of a position's variants are two
def log_likelihood_and_embedding(model: LanguageModel, letters: str) -> tuple[float, np.ndarray]:
    """By the definition, from one forward of the whole window."""
    tokens = torch.from_numpy(DNA.encode(letters)).long()[None]
    with torch.no_grad():
        hidden = model.backbone(tokens).hidden[0]
        log_p = model.backbone.unembed(hidden).log_softmax(-1)
    counted = [i for i in range(1, len(letters)) if letters[i].upper() != "N"]
    known = [i for i in range(len(letters)) if letters[i].upper() != "N"]
    return sum(log_p[i - 1, tokens[0, i]].item() for i in counted), hidden[known].mean(0).numpy()


def naive(
    model: LanguageModel,
    text: str,
    variant: tuple[str, int, str, str],
    window: int,
    shifts: Sequence[int],
    strand: str,
) -> tuple[float, float]:
    _, position, ref, alt = variant
    results = []
    for shift in shifts:
        before = window // 2 + shift
        left = text[max(0, position - 1 - before) : position - 1]
        right = text[position - 1 + len(ref) :][: window - 1 - before]
        for reverse in {"both": (False, True), "forward": (False,), "reverse": (True,)}[strand]:
            pair = [left + allele + right for allele in (ref, alt)]
            if reverse:
                pair = [DNA.decode(DNA.reverse_complement(DNA.encode(letters))) for letters in pair]
            (ll_ref, e_ref), (ll_alt, e_alt) = (
                log_likelihood_and_embedding(model, letters) for letters in pair
            )
            results.append((ll_alt - ll_ref, float(np.linalg.norm(e_alt - e_ref))))
    llr, distance = np.mean(results, axis=0)
    return llr, distance


def variants_at(text: str, positions: Sequence[int]) -> list[tuple[str, int, str, str]]:
    """At each position: three SNVs, a deletion, an insertion, both at once, of REF's own letters."""
    found = []
    for position in positions:
        one, four = text[position - 1], text[position - 1 : position + 3]
        found += [("chr1", position, one, alt) for alt in "ACGT" if alt != one.upper()]
        found += [
            ("chr1", position, four, one),
            ("chr1", position, one, one + "TTGCA"),
            ("chr1", position, four, "ga"),
        ]
    return found


EDGES = [1, 2, 20, 60, 100, 147, 157, 205, 300, LENGTH - 25, LENGTH - 3]


@pytest.mark.parametrize(
    ("window", "shifts", "strand"),
    [(64, (0,), "both"), (65, (-32, 5), "forward"), (33, (3, 0, -16, 16), "reverse"), (2, (0,), "both")],
)
def test_it_equals_two_forwards(
    model: LanguageModel, genome: Genome, text: str, window: int, shifts: tuple[int, ...], strand: str
) -> None:
    variants = variants_at(text, EDGES)
    found = score_variants(
        model, genome, variants, window=window, shifts=shifts, strand=strand, bases_per_batch=700
    )
    expected = np.array([naive(model, text, variant, window, shifts, strand) for variant in variants]).T
    np.testing.assert_allclose(found.llr, expected[0], rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(found.distance, expected[1], rtol=1e-9, atol=1e-10)
    assert np.abs(expected[0]).max() > 0.1
    assert expected[1].max() > 0.01


def test_a_position_is_a_whole_number(model: LanguageModel, genome: Genome, text: str) -> None:
    """`int` would cut 20.7 to 20 and read 2_0 as 20."""
    ref, alt = text[19].upper(), "A" if text[19].upper() != "A" else "C"
    expected = score_variants(model, genome, [("chr1", 20, ref, alt)], window=16)
    for same in (20.0, "20", np.int32(20)):
        found = score_variants(model, genome, [("chr1", same, ref, alt)], window=16)
        assert found.llr.tolist() == expected.llr.tolist()
    for other in (20.7, "2_0", None, "20.0", float("nan")):
        with pytest.raises(UserError, match="variant 0: must be a record, a position, REF and ALT"):
            score_variants(model, genome, [("chr1", other, ref, alt)], window=16)


def test_the_window_is_as_long_as_it_says(genome: Genome) -> None:
    for window in (2, 33, 64):
        for shift in (-(window // 2), 0, window - 1 - window // 2):
            site = effects_module.Site("chr1", 199, (DNA.encode("A"), DNA.encode("C")))
            for view in effects_module.Windows(window, (shift,)).views(site, genome):
                assert len(view.before) + 1 + len(view.after) == window


@pytest.mark.parametrize("budget", [1, 100, 10**6])
def test_batches_and_pieces_change_nothing(
    model: LanguageModel, genome: Genome, text: str, monkeypatch: pytest.MonkeyPatch, budget: int
) -> None:
    variants = variants_at(text, [30, 205])
    expected = score_variants(model, genome, variants, window=100)
    monkeypatch.setattr(likelihood_module, "SHORTEST_PIECE", 7)
    monkeypatch.setattr(likelihood_module, "ALIGNED", 6)  # all rows here are long then, and padded
    monkeypatch.setattr(effects_module, "SITES", 3)
    found = score_variants(model, genome, variants, window=100, bases_per_batch=budget)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_the_first_flank_is_read_once(
    model: LanguageModel, genome: Genome, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []
    forward = model.backbone.forward

    def counting(tokens: torch.Tensor, *others: object, **more: object) -> object:
        read.append(tuple(tokens.shape))
        return forward(tokens, *others, **more)

    monkeypatch.setattr(model.backbone, "forward", counting)
    one = text[99]
    alts = [alt for alt in "ACGT" if alt != one]
    score_variants(model, genome, [("chr1", 100, one, alt) for alt in alts], window=50, strand="forward")
    assert read == [(1, 25), (4, 25)]


def test_both_strands_are_those_of_the_other_strand(
    model: LanguageModel, genome: Genome, text: str, tmp_path: Path
) -> None:
    """A variant and its mirror image on the reverse complement of the genome have the same score."""
    path = tmp_path / "mirror.fa"
    path.write_text(f">chr1\n{DNA.decode(DNA.reverse_complement(DNA.encode(text)))}\n")

    def flip(allele: str) -> str:
        return DNA.decode(DNA.reverse_complement(DNA.encode(allele)))

    variants = variants_at(text, [100, 230])
    mirrored = [
        (name, LENGTH - (position - 1 + len(ref)) + 1, flip(ref), flip(alt))
        for name, position, ref, alt in variants
    ]
    # An even window has one base more before the variant than after it: an odd one is its own mirror image.
    here = score_variants(model, genome, variants, window=51)
    there = score_variants(model, Genome(path, DNA), mirrored, window=51)
    np.testing.assert_allclose(here, there, rtol=1e-9, atol=1e-12)


def test_change_of_case_scores_zero(text: str, genome: Genome) -> None:
    """A model that keeps case, and a REF and an ALT as a VCF writes them, in upper case."""
    torch.manual_seed(1)
    model = LanguageModel(MambaConfig(d_model=8, n_layer=1, alphabet="bytes", vocab_size=256)).double()
    masked = Genome(genome.path, get_alphabet("bytes"))
    effects = score_variants(model, masked, [("chr1", 220, text[219].upper(), text[219].upper())], window=50)
    assert (effects.llr[0], effects.distance[0]) == (0.0, 0.0)
    changed = "A" if text[219] != "a" else "C"
    found = score_variants(model, masked, [("chr1", 220, text[219], changed)], window=50).llr
    folded = score_variants(model, masked, [("chr1", 220, text[219], changed.lower())], window=50).llr
    assert found == folded != 0


def test_a_genome_in_another_alphabet_is_refused(model: LanguageModel, genome: Genome, text: str) -> None:
    other = Genome(genome.path, get_alphabet("bytes"))
    with pytest.raises(UserError, match=r"was read as 'bytes'; the model's alphabet is 'dna'"):
        score_variants(model, other, [("chr1", 1, text[0], "A")])
    with pytest.raises(UserError, match=r"was read as 'bytes'; the model's alphabet is 'dna'"):
        saturate(model, other, Interval("chr1", 0, 2), effects_module.Windows(50))


@pytest.mark.parametrize("variant", [("chr1", 10, "A"), ("chr1", "ten", "A", "C"), "chr1", None])
def test_a_variant_of_other_fields_is_named(model: LanguageModel, genome: Genome, variant: object) -> None:
    with pytest.raises(UserError, match=r"variant 1: must be a record, a position, REF and ALT"):
        score_variants(model, genome, [("chr1", 1, "A", "C"), variant])


def test_no_variants_no_effects(model: LanguageModel, genome: Genome) -> None:
    found = score_variants(model, genome, [])
    assert found.llr.shape == found.distance.shape == (0,)


def test_a_record_of_one_base(model: LanguageModel, genome: Genome) -> None:
    """Its only base has no prediction, so that there is no likelihood to compare."""
    found = score_variants(model, genome, [("tiny", 1, "G", "C")])
    assert found.llr.tolist() == [0.0]
    assert found.distance[0] > 0.01


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        (("chrl", 5, "A", "C"), "no record 'chrl'; did you mean chr1"),
        (("chr1", 401, "A", "C"), "variant chr1:401 A>C: REF is at 401, but chr1 has bases 1 to 400"),
        (("chr1", 0, "A", "C"), "REF is at 0, but chr1 has bases 1 to 400"),
        (("chr1", 398, "ACGT", "C"), "REF is at 398, but"),
        (("chr1", 152, "N", "C"), "variant chr1:152 N>C: the FASTA has N"),
        (("chr1", 152, "A", "C"), "the FASTA has N"),
    ],
)
def test_what_cannot_be_scored_says_why(
    model: LanguageModel, genome: Genome, variant: tuple[str, int, str, str], message: str
) -> None:
    with pytest.raises(UserError, match=message.replace("+", r"\+")) as error:
        score_variants(model, genome, [variant])
    assert "\n" not in str(error.value)


def test_a_ref_that_is_not_there_is_named(model: LanguageModel, genome: Genome, text: str) -> None:
    wrong = "A" if text[9] != "A" else "C"
    with pytest.raises(UserError, match=f"REF is {wrong}, but the FASTA has {text[9]}$"):
        score_variants(model, genome, [("chr1", 10, wrong, "G")])


@pytest.mark.parametrize("alt", ["", "N", "<DEL>", "AR"])
def test_alt_that_is_not_a_sequence_is_named(
    model: LanguageModel, genome: Genome, text: str, alt: str
) -> None:
    with pytest.raises(UserError, match="has other letters than A, C, G and T"):
        score_variants(model, genome, [("chr1", 10, text[9], alt)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 1}, r"window: must be at least 2 bases \(got 1\)"),
        ({"shifts": ()}, "shifts: must have at least one number"),
        ({"window": 10, "shifts": (5,)}, "5 moves a variant out of its window of 10 bases"),
        ({"window": 10, "shifts": (-6,)}, "-6 moves a variant out"),
        ({"share": -1}, r"^share: must be at least 0 bases \(got -1\)$"),
        ({"strand": "up"}, r"strand: must be one of both, forward, reverse \(got 'up'\)"),
    ],
)
def test_an_option_out_of_range_is_named(
    model: LanguageModel, genome: Genome, options: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        score_variants(model, genome, [], **options)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.integers(1, LENGTH),
            st.integers(1, 12),
            st.lists(st.text("ACGTacgt", min_size=1, max_size=12), min_size=1, max_size=3),
        ),
        min_size=1,
        max_size=3,
    ),
    st.integers(2, 80),
)
def test_any_alleles_anywhere(
    model: LanguageModel,
    genome: Genome,
    text: str,
    rows: list[tuple[int, int, list[str]]],
    window: int,
) -> None:
    variants = []
    for position, width, alts in rows:
        ref = text[position - 1 : position - 1 + width]
        if "N" not in ref:
            variants += [("chr1", position, ref, alt) for alt in alts]
    found = score_variants(model, genome, variants, window=window, bases_per_batch=300)
    expected = [naive(model, text, variant, window, (0,), "both") for variant in variants]
    for llr, distance, pair in zip(found.llr, found.distance, expected, strict=True):
        np.testing.assert_allclose((llr, distance), pair, rtol=1e-9, atol=1e-10)
