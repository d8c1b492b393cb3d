"""Attribution of what a model answers at a base or in bins: in float64, against the model's own logits."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from dnamamba import Genome, MambaConfig, UserError, get_alphabet, save_model
from dnamamba.commands.attribute import AttributeConfig, attribute_region
from dnamamba.data.intervals import Interval
from dnamamba.inference.attribution import attribute, gradient
from dnamamba.inference.one_hot import OneHotModel, one_hot_of
from dnamamba.inference.place_answers import OneHotPlace, PlaceAnswers, place_of
from dnamamba.models import PositionConfig, PositionModel

LETTERS = "ACGTTGCANGATTACAGGCATTAGC"  # 25 bases: six bins of four and one base
SHAPE = MambaConfig(d_model=8, n_layer=1)
# gene+ and gene- are each other on the other strand.
CLASSES = PositionConfig("base_classes", ("none", "gene+", "gene-"), (0, 2, 1), 16)
QUESTIONS = {
    "classes": CLASSES,
    "joined strands": PositionConfig("base_classes", CLASSES.labels, (0, 2, 1), 16, context="both", conv=1),
    "chain": PositionConfig("base_classes", CLASSES.labels, (0, 2, 1), 16, chain=True),
    "tracks": PositionConfig(
        "signal", ("plus", "minus"), (1, 0), 16, bin=4, loss="poisson", scaling="log", means=(1.0, 2.0)
    ),
}
DNA = get_alphabet("dna")


def model_of(name: str) -> PositionModel:
    torch.manual_seed(0)
    model = PositionModel(SHAPE, QUESTIONS[name]).double().eval()
    torch.nn.init.normal_(model.backbone.embedding.weight)
    return model


@pytest.fixture(scope="module")
def genome(tmp_path_factory: pytest.TempPathFactory) -> Genome:
    path = tmp_path_factory.mktemp("genome") / "g.fa"
    path.write_text(f">one\n{LETTERS}\n>two\n{LETTERS}\n")
    return Genome(path, DNA)


def asked_of(model: PositionModel, letters: str, label: int, bins: slice, *, reverse: bool) -> float:
    """Log odds of a class, or values of a track, added up over bins of the forward strand; by the formula."""
    ids = DNA.encode(letters)
    tokens = torch.from_numpy(DNA.reverse_complement(ids) if reverse else ids)[None]
    with torch.no_grad():
        logits = model.decoded(model(tokens).logits[0]).double()
    if reverse:
        logits, label = logits.flip(0), model.decoder.complement[label]
    if model.decoder.kind == "signal":
        values = (logits.exp() * torch.tensor(model.decoder.means)).expm1()[bins, label]
    else:
        p = logits[bins].softmax(-1)[:, label]
        values = p.log() - (1 - p).log()
    return values.sum().item()


@pytest.mark.parametrize("strand", ["forward", "reverse"])
@pytest.mark.parametrize(("name", "label", "at"), [("classes", "gene+", (3, 4)), ("chain", "gene-", (3, 9))])
def test_mutagenesis_of_a_class_is_its_log_odds_there(
    genome: Genome, name: str, label: str, at: tuple[int, int], strand: str
) -> None:
    model = model_of(name)
    found = attribute(
        model, genome, Interval("one", 2, 5), "ism", strand=strand, label=label, at=Interval("one", *at)
    )
    options = {"label": CLASSES.labels.index(label), "bins": slice(*at), "reverse": strand == "reverse"}
    before = asked_of(model, LETTERS, **options)
    for row, place in enumerate(range(2, 5)):
        for column, base in enumerate("ACGT"):
            changed = LETTERS[:place] + base + LETTERS[place + 1 :]
            expected = asked_of(model, changed, **options) - before
            assert found.values[row, column] == pytest.approx(expected, rel=1e-5, abs=1e-6)
    assert np.abs(found.values).max() > 1e-4
    unit = "natural log odds at one base" if at == (3, 4) else "natural log odds, the sum over 6 bases"
    assert found.unit == unit


def test_track_is_asked_in_whole_bins_of_the_record(genome: Genome) -> None:
    """`at` touches bins 4 to 6, of which the last has one base; the reverse strand keeps the bins."""
    model = model_of("tracks")
    options = {"context": 3, "label": "plus", "at": Interval("one", 18, 25)}
    for strand, reverse in (("forward", False), ("reverse", True)):
        found = attribute(model, genome, Interval("one", 18, 20), "ism", strand=strand, **options)
        read = LETTERS[12:] + "NNN"  # from a bin's beginning, 3 bases before the region or more
        bins = {"label": 0, "bins": slice(1, 4), "reverse": reverse}
        before = asked_of(model, read, **bins)
        expected = asked_of(model, read[:6] + "T" + read[7:], **bins) - before
        assert found.values[0, 3] == pytest.approx(expected, rel=1e-9, abs=1e-12)
        assert abs(expected) > 1e-6
    assert found.unit == "the unit of the track, the sum over 3 bins"


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", ["classes", "joined strands", "tracks"])
def test_gradient_at_a_place_is_that_of_finite_differences(genome: Genome, name: str, reverse: bool) -> None:
    model = model_of(name)
    place = place_of(genome, Interval("one", 9, 14), Interval("one", 10, 13), 50, model.decoder.bin)
    answers = PlaceAnswers(model, model.decoder.labels[-1], place, reverse=reverse)
    one_hot = OneHotPlace(answers, reverse=reverse)
    x = one_hot_of(place.ids, "dna", torch.float64)
    padded = LETTERS + "N" * (-len(LETTERS) % model.decoder.bin)
    label, bins = len(model.decoder.labels) - 1, place.bins
    assert one_hot(x).item() == pytest.approx(asked_of(model, padded, label, bins, reverse=reverse), rel=1e-9)

    def answer(given: Tensor) -> Tensor:
        return one_hot(given)[:, 0]

    found, step = gradient(answer, x)[0].flatten(), 1e-5
    moves = step * torch.eye(found.numel(), dtype=torch.float64).reshape(-1, 4, x.shape[-1])
    with torch.no_grad():
        slow = (answer(x + moves) - answer(x - moves)) / (2 * step)
    torch.testing.assert_close(found, slow, rtol=1e-6, atol=1e-9)
    assert found.abs().max() > 1e-4


def test_causal_answer_owes_nothing_to_bases_after_it(genome: Genome) -> None:
    found = attribute(
        model_of("classes"), genome, Interval("one", 10, 20), "integrated", strand="forward",
        label="none", at=Interval("one", 14, 15),
    )  # fmt: skip
    assert (found.values[5:] == 0).all()
    assert (found.contribution[:5] != 0).all()


def test_command_attributes_the_answer_at_a_place(genome: Genome, tmp_path: Path) -> None:
    model = model_of("tracks").float()
    save_model(model, tmp_path / "model")
    config = AttributeConfig(
        model=str(tmp_path / "model"), region="one:9-12", out=str(tmp_path / "a.tsv"), fasta=str(genome.path),
        method="gradient", context=8, strand="both", label="minus", at="one:13-13", tolerance=1e-3,
        bigwig=False, device="cpu", overwrite=False,
    )  # fmt: skip
    attribute_region(config)
    names, *rows = [line.split("\t") for line in (tmp_path / "a.tsv").read_text().splitlines()]
    assert [row[2] for row in rows] == ["N", "G", "A", "T"]
    expected = attribute(
        model,
        genome,
        Interval("one", 8, 12),
        "gradient",
        context=8,
        label="minus",
        at=Interval("one", 12, 13),
    )
    place = names.index("contribution")
    np.testing.assert_allclose([float(row[place]) for row in rows[1:]], expected.contribution[1:], rtol=1e-4)


def test_refusals_of_a_place_are_one_line(genome: Genome) -> None:
    region, classes = Interval("one", 0, 4), model_of("classes")
    for match, call in (
        (r"label: the model has none, gene\+, gene-; name", lambda: attribute(classes, genome, region)),
        (
            r"at: lies on two, the region on one",
            lambda: attribute(classes, genome, region, label="none", at=Interval("two", 0, 1)),
        ),
        (
            r"of a chain over answers \(data\.chain=true\)",
            lambda: attribute(model_of("chain"), genome, region, "gradient", label="none"),
        ),
        (r"model: it answers at every base or bin", lambda: OneHotModel(classes)),
    ):
        with pytest.raises(UserError, match=match) as error:
            call()
        assert "\n" not in str(error.value)
