"""Circular records: what goes past the end of one is read from its beginning."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dnamamba import Genome, GenomeConfig, LanguageModel, MambaConfig, UserError, get_alphabet, score_variants
from dnamamba.data.examples import Collector, from_regions
from dnamamba.data.intervals import Interval
from dnamamba.data.regions import RegionsConfig, read_regions
from dnamamba.data.sampling import gather
from dnamamba.inference.inputs import read_inputs

DNA = get_alphabet("dna")
LETTERS = "".join(np.random.default_rng(4).choice(list("ACGT"), 100))
TURNED = LETTERS[50:] + LETTERS[:50]  # the same circle, cut elsewhere
GFF3 = "chrM\tx\tgene\t{}\t{}\t.\t{}\t.\tID=a\n"


@pytest.fixture
def fasta(tmp_path: Path) -> Path:
    (tmp_path / "g.fa").write_text(f">chrM\n{LETTERS}\n>turned\n{TURNED}\n>chr1\n{LETTERS}\n")
    return tmp_path / "g.fa"


@pytest.fixture
def genome(fasta: Path) -> Genome:
    found = Genome(fasta, DNA)
    found.close(["MT", "turned"], "circular")
    return found


def test_a_circle_is_read_past_its_end_up_to_a_round(genome: Genome) -> None:
    assert genome.circular == {"chrM", "turned"}
    assert DNA.decode(genome.fetch("chrM", 90, 120)) == LETTERS[90:] + LETTERS[:20]
    assert DNA.decode(genome.fetch("chrM", 90, 190)) == LETTERS[90:] + LETTERS[:90]
    assert DNA.decode(genome.fetch("chrM", 130, 140)) == LETTERS[30:40]
    for start, end, name in ((90, 191, "chrM"), (90, 101, "chr1")):
        with pytest.raises(UserError, match=f"record {name}: no bases {start} to {end}"):
            genome.fetch(name, start, end)


@pytest.mark.parametrize(
    ("start", "before", "after", "left", "right"),
    [
        (3, 10, 5, LETTERS[93:] + LETTERS[:3], LETTERS[5:10]),
        (97, 5, 10, LETTERS[92:97], LETTERS[99:] + LETTERS[:9]),
        (98, 0, 7, "", LETTERS[:7]),
        (50, 80, 80, LETTERS[1:50], LETTERS[52:] + LETTERS[:1]),
        (50, 10, 200, LETTERS[40:50], LETTERS[52:] + LETTERS[:40]),
    ],
)
def test_flanks_go_round_and_meet_nowhere(
    genome: Genome, start: int, before: int, after: int, left: str, right: str
) -> None:
    found = genome.flanks("chrM", start, start + 2, before, after)
    assert tuple(map(DNA.decode, found)) == (left, right)
    assert sum(map(len, found)) + 2 <= len(LETTERS)


def test_flanks_of_a_line_end_with_it(genome: Genome) -> None:
    assert tuple(map(DNA.decode, genome.flanks("chr1", 3, 5, 10, 200))) == (LETTERS[:3], LETTERS[5:])


def test_a_variant_at_the_origin_scores_as_in_the_middle(genome: Genome) -> None:
    torch.manual_seed(2)
    model = LanguageModel(MambaConfig(d_model=8, n_layer=1)).eval()
    base = LETTERS[2]
    alt = "ACGT"["ACGT".index(base) - 1]
    places = [("chrM", 3, base, alt), ("turned", 53, base, alt), ("chr1", 3, base, alt)]
    found = score_variants(model, genome, places, window=40)
    assert found.llr[0] == pytest.approx(found.llr[1], abs=1e-6)
    assert abs(found.llr[0] - found.llr[2]) > 1e-4


@pytest.mark.parametrize(
    ("row", "how", "place", "letters"),
    [
        ((91, 110, "+"), {}, (90, 110), LETTERS[90:] + LETTERS[:10]),
        ((5, 20, "+"), {"upstream": 10}, (94, 104), LETTERS[94:] + LETTERS[:4]),
        ((80, 95, "-"), {"upstream": 10}, (95, 105), LETTERS[95:] + LETTERS[:5]),
        ((1, 98, "+"), {"flank": 30}, (70, 170), LETTERS[70:] + LETTERS[:70]),
    ],
)
def test_regions_go_past_the_origin(
    fasta: Path, tmp_path: Path, row: tuple, how: dict, place: tuple[int, int], letters: str
) -> None:
    (tmp_path / "a.gff3").write_text(GFF3.format(*row))
    config = RegionsConfig(feature="gene", circular=["chrM"], **how)
    inputs = read_inputs((fasta, tmp_path / "a.gff3"), DNA, config)
    (region,) = inputs.regions
    assert (region.start, region.end) == place
    assert DNA.decode(inputs.ids(region.record, region.start, region.end)) == letters
    with pytest.raises(
        UserError, match=r"^regions\.circular: chrM:\d+-1\d\d goes past the end of chrM, which a"
    ):
        inputs.need_linear("a bigWig")
    collector = Collector(DNA)
    from_regions(fasta, tmp_path / "a.gff3", RegionsConfig(**{**vars(config), "label": "ID"}), collector)
    (ids,) = collector._pieces
    expected = DNA.encode(letters)
    assert np.array_equal(ids, DNA.reverse_complement(expected) if row[2] == "-" else expected)


def test_a_line_keeps_its_ends(tmp_path: Path) -> None:
    (tmp_path / "a.gff3").write_text(GFF3.format(5, 20, "+"))
    found = read_regions(tmp_path / "a.gff3", {"chrM": 100}, "g.fa", RegionsConfig("gene", upstream=10))
    assert found.rows[0].interval == Interval("chrM", 0, 4)
    with pytest.raises(UserError, match=r"^regions\.circular: g\.fa has no record 'chrMT'"):
        read_regions(tmp_path / "a.gff3", {"chr1": 9}, "g.fa", RegionsConfig("gene", circular=["chrMT"]))


@pytest.mark.parametrize("gap", ["", "N" * 12])
def test_training_windows_begin_at_every_base_of_circle(tmp_path: Path, gap: str) -> None:
    letters = LETTERS[:40] + gap + LETTERS[40 + len(gap) :]
    (tmp_path / "g.fa").write_text(f">chrM\n{letters}\n>chr1\n{LETTERS}\n>chr2\n{LETTERS}\n")
    settings = GenomeConfig(
        fasta=str(tmp_path / "g.fa"), max_length=10, train=["MT"], valid=["1"], test=["chr2"],
        circular=["MT"], reverse_complement=False, batch_size=1,
    )  # fmt: skip
    data = settings.build(0, global_batch_size=1, max_steps=1, world_size=1)
    windows = data.windows[0].draw(np.arange(4000))
    starts = set(windows.start.tolist())
    inside = [start for start in range(100) if start <= 29 or start >= 52]
    assert starts == set(inside if gap else range(100))
    tokens = gather(data.genome, data.windows[0].names, windows, 10)
    texts = {DNA.decode(row) for row in tokens}
    assert texts == {(letters * 2)[start : start + 11] for start in starts}
    assert data.notes == ("chromosome names matched by synonyms: MT is chrM, 1 is chr1",)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"circular": ["chr1"]}, "data.circular: chr1 is held out"),
        ({"circular": ["chr9"]}, "data.circular: .*g.fa has no record 'chr9'"),
        (
            {"circular": ["chrM"], "max_length": "chromosome"},
            "data.circular: with data.max_length",
        ),
        ({"circular": ["chrM"], "intervals": "x.bed"}, "data.circular: training windows lie within"),
    ],
)
def test_circles_that_cannot_train_are_refused(fasta: Path, given: dict[str, Any], said: str) -> None:
    held_out = {} if "intervals" in given else {"valid": ["chr1"], "test": ["turned"]}
    settings = {"fasta": str(fasta), "max_length": 10} | held_out | given
    with pytest.raises(UserError, match=f"^{said}"):
        GenomeConfig(**settings).build(0, global_batch_size=16, max_steps=1, world_size=1)
