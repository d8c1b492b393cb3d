"""Regions from BED, GFF3 and GTF: the rows, windows and names that are read, and what is refused."""

import gzip
from pathlib import Path
from typing import Any

import pytest

from dnamamba import UserError
from dnamamba.data.intervals import Interval, read_bed
from dnamamba.data.regions import RegionsConfig, parse_region, read_regions
from dnamamba.data.signal import read_signal
from dnamamba.data.synonyms import Synonyms

LENGTHS = {"chr1": 1000, "chr2": 500, "chrM": 60}
GFF3 = """##gff-version 3
#!genome-build toy
chr1\tx\tregion\t1\t1000\t.\t.\t.\tID=chr1
chr1\tx\tgene\t101\t200\t.\t+\t.\tID=gene:A%3B1;biotype=coding,other;Name=a
chr1\tx\tmRNA\t101\t200\t.\t+\t.\tID=t1;Parent=gene:A%3B1
###
chr2\tx\tgene\t301\t450\t0.5\t-\t.\tID=gene:B;biotype=lncRNA
##FASTA
>chr1
ACGT
"""
GTF = """#!genome-build toy
chr1\tx\tgene\t101\t200\t.\t+\t.\tgene_id "A;1"; gene_biotype "coding"; level 2;
chr2\tx\tgene\t301\t450\t.\t-\t.\tgene_id "B"; gene_biotype "lncRNA"
"""


def regions(path: Path, **how: Any) -> list[tuple[Interval, str, str, str | None]]:
    found = read_regions(path, LENGTHS, "g.fa", RegionsConfig(**how))
    return [(row.interval, row.name, row.strand, row.label) for row in found.rows]


@pytest.fixture(params=["a.gff3", "a.gff.gz", "a.gtf"])
def annotation(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / request.param
    text = (GTF if "gtf" in request.param else GFF3).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def test_features_of_one_kind_count_from_zero(annotation: Path) -> None:
    gtf = annotation.suffix == ".gtf"
    label = "gene_biotype" if gtf else "biotype"
    names = ("A;1", "B") if gtf else ("gene:A;1", "gene:B")
    assert regions(annotation, feature="gene", label=label) == [
        (Interval("chr1", 100, 200), names[0], "+", "coding" if gtf else "coding,other"),
        (Interval("chr2", 300, 450), names[1], "-", "lncRNA"),
    ]


@pytest.mark.parametrize(
    ("how", "places"),
    [
        ({"upstream": 40, "downstream": 10}, [(60, 110), (440, 490)]),
        ({"upstream": 40}, [(60, 100), (450, 490)]),
        ({"upstream": 400}, [(0, 100), (450, 500)]),
        ({"upstream": 0, "downstream": 5, "flank": 2}, [(98, 107), (443, 452)]),
        ({"flank": 60}, [(40, 260), (240, 500)]),
    ],
)
def test_windows_lie_by_strand_and_end_with_record(
    annotation: Path, how: dict[str, int], places: list[tuple[int, int]]
) -> None:
    assert [row[0][1:] for row in regions(annotation, feature="gene", **how)] == places


def test_bed_of_any_flavour_is_read(tmp_path: Path) -> None:
    """A track line, narrowPeak's ten columns, one block of a BED12, gzip, and Windows' line ends."""
    rows = (
        'track type=narrowPeak name="my peaks" description="x y"',
        "browser position chr1:1-100",
        "chr1\t10\t20\tpeak1\t900\t.\t3.5\t2.0\t1.5\t7",
        "chr2\t5\t9\tone\t0\t-\t5\t9\t0\t1\t4\t0",
        "chr2\t5\t9",
    )
    path = tmp_path / "p.bed.gz"
    path.write_bytes(gzip.compress("\r\n".join(rows).encode()))
    assert regions(path) == [
        (Interval("chr1", 10, 20), "peak1", ".", "peak1"),
        (Interval("chr2", 5, 9), "one", "-", "one"),
        (Interval("chr2", 5, 9), "", ".", None),
    ]


def test_columns_of_a_bed_are_chosen_by_number(tmp_path: Path) -> None:
    (tmp_path / "a.bed").write_text("chr1\t10\t20\tpeak1\t900\t+\tleaf\n")
    (row,) = regions(tmp_path / "a.bed", label="7", name="5")
    assert row == (Interval("chr1", 10, 20), "900", "+", "leaf")
    with pytest.raises(UserError, match=r"regions.label: .*row 1 has 7 columns \(got 8\)"):
        regions(tmp_path / "a.bed", label="8")
    with pytest.raises(UserError, match=r"regions.name: of a BED, the number .* \(got 'ID'\)"):
        regions(tmp_path / "a.bed", name="ID")


def test_synonyms_of_chromosomes_are_used_and_said(tmp_path: Path) -> None:
    (tmp_path / "a.bed").write_text("1\t0\t9\nNC_000002.12\t0\t9\nMT\t0\t60\n")
    found = read_regions(tmp_path / "a.bed", LENGTHS, "g.fa")
    assert [row.interval.name for row in found.rows] == ["chr1", "chr2", "chrM"]
    assert found.notes == [
        "chromosome names matched by synonyms: 1 is chr1, NC_000002.12 is chr2, MT is chrM"
    ]


def test_unknown_records_are_skipped_and_counted_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "a.bed"
    path.write_text("chr1\t0\t9\nUn_7\t0\t9\nUn_7\t9\t19\nchrX\t1\t2\n")
    with pytest.raises(UserError, match=r"a\.bed, row 2: g\.fa has no record 'Un_7'"):
        regions(path)
    found = read_regions(path, LENGTHS, "g.fa", RegionsConfig(unknown="skip"))
    assert [row.interval for row in found.rows] == [Interval("chr1", 0, 9)]
    assert found.notes == ["3 regions skipped, on records that the FASTA lacks: Un_7 (2), chrX (1)"]
    path.write_text("Un_7\t0\t9\n")
    with pytest.raises(UserError, match=r"a\.bed: no regions on records of g\.fa"):
        regions(path, unknown="skip")


@pytest.mark.parametrize(
    ("name", "text", "how", "message"),
    [
        (
            "a.gff3",
            GFF3,
            {},
            r"regions\.feature: which rows is not said, such as gene; \S+ has gene \(2\), re",
        ),
        ("a.gff3", GFF3, {"feature": "exon"}, r"regions\.feature: no row is a 'exon'; \S+ has gene \(2\)"),
        ("a.gff3", "", {"feature": "gene"}, r"no row is a 'gene'; \S+ has no rows"),
        ("a.gff3", GFF3, {"feature": "gene", "name": "Name"}, r"row 7 has no attribute 'Name'; its .* ID"),
        ("a.gff3", GFF3, {"feature": "gene", "label": "tissue"}, r"regions\.label: \S+, row 4 has no attrib"),
        ("a.gff3", "chr1 x gene 1 9 . + . ID=a\n", {"feature": "gene"}, "row 1: expected 9 columns .* got 1"),
        ("a.gff3", GFF3.replace("101", "0"), {"feature": "gene"}, "row 4: '0' to '200' is not a range"),
        ("a.gff3", GFF3.replace("\t-\t", "\t*\t"), {"feature": "gene"}, r"row 7: the strand must .*'\*'"),
        ("a.gff3", GFF3.replace("450", "501"), {"feature": "gene"}, "row 7: ends at 501, but record chr2"),
        ("a.gff3", GFF3.replace("ID=gene:B", "gene B"), {"feature": "gene"}, "row 7: .* is not an attribute"),
        ("a.gtf", GTF.replace("level 2;", 'level "2'), {"feature": "gene"}, "row 2: .* not an attribute"),
        (
            "a.bed",
            "chr1\t0\t30\tx\t0\t+\t0\t30\t0\t2\t5,5\t0,25\n",
            {},
            r"row 1: the blocks of a BED12 are not read \(got 2\); give a row per block",
        ),
        ("a.bed", "chr1\t0\t9\n", {"feature": "gene"}, r"\S+a\.bed is a BED, without features"),
        ("a.bed", "chr1\t0\t9\n", {"upstream": 5}, "row 1: no base is upstream of it; chr1 ends there"),
    ],
)  # fmt: skip
def test_what_can_not_be_read_is_one_line(
    tmp_path: Path, name: str, text: str, how: dict[str, Any], message: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=message) as error:
        regions(tmp_path / name, **how)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"upstream": -1}, r"regions\.upstream: must be at least 0 bases \(got -1\)"),
        ({"downstream": 5}, r"regions\.downstream: .* set regions\.upstream=0"),
        ({"upstream": 0}, r"regions\.upstream: 0 bases are nothing to read"),
        ({"unknown": "drop"}, r"regions\.unknown: must be error or skip \(got 'drop'\)"),
    ],
)
def test_settings_out_of_range_are_named(how: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        RegionsConfig(**how)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("chr1:11-20", ("chr1", 10, 20)),
        ("1:11-20", ("chr1", 10, 20)),
        ("NC_000002.12:1-5", ("chr2", 0, 5)),
        ("MT", ("chrM", 0, 60)),
    ],
)
def test_a_typed_region_is_found_by_synonyms(text: str, place: tuple[str, int, int]) -> None:
    synonyms = Synonyms(LENGTHS)
    assert parse_region(text, LENGTHS, synonyms) == Interval(*place)
    assert list(synonyms.used.values()) == ([] if text.startswith("chr") else [place[0]])
    with pytest.raises(UserError, match="region '1:11-2000': chr1 has bases 1 to 1,000"):
        parse_region("1:11-2000", LENGTHS)


def test_region_that_is_also_a_record_is_refused() -> None:
    """bedtools getfasta names its records chr1:0-100."""
    lengths = {"chr1": 500, "chr1:1-100": 100, "chr1:600-700": 100}
    with pytest.raises(UserError, match=r"'chr1:1-100': is a record, and an .*write chr1:1-100:1"):
        parse_region("chr1:1-100", lengths)
    assert parse_region("chr1:1-100:1-100", lengths) == ("chr1:1-100", 0, 100)
    assert parse_region("chr1:2-100", lengths) == ("chr1", 1, 100)
    assert parse_region("chr1:600-700", lengths) == ("chr1:600-700", 0, 100)


def test_record_named_track_keeps_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "r.bed"
    path.write_text("track name=x\nbrowser position chr7:1-9\ntrack\t2\t5\nbrowser 1 3\n")
    assert [tuple(place) for place in read_bed(path)] == [("track", 2, 5), ("browser", 1, 3)]
    (tmp_path / "s.bedgraph").write_text("track type=bedGraph\ntrack\t0\t2\t1.5\n")
    found = read_signal(tmp_path / "s.bedgraph", {"track": 2}, "g.fa", 2)
    assert found.values["track"].tolist() == [1.5]
