"""Classes of bases from GFF3, GTF and BED: every value by hand, and what is wrong with a row in one line."""

from pathlib import Path

import numpy as np
import pytest

from dnamamba import UserError
from dnamamba.data.base_classes import IGNORED, base_classes, group_of

LENGTHS = {"chr1": 30, "chr2": 12}
GFF = """##gff-version 3
chr1\t.\tgene\t3\t14\t.\t+\t.\tID=g
chr1\t.\texon\t3\t6\t.\t+\t.\tID=e1;Parent=t
chr1\t.\texon\t11\t14\t.\t+\t.\tID=e2;Parent=t
chr1\t.\tCDS\t4\t6\t.\t+\t0\tParent=t
chr1\t.\tCDS\t11\t14\t.\t+\t0\tParent=t
chr2\t.\tCDS\t2\t6\t.\t-\t2\tParent=u
"""


def read(folder: Path, text: str, kinds: list[str] | None, name: str = "a.gff3", **settings: object) -> str:
    """Classes of both records as text: the first letters of labels by number, `?` where they are left out."""
    path = folder / name
    path.write_text(text)
    found = base_classes(path, LENGTHS, "g.fa", kinds=kinds, **settings)  # type: ignore[arg-type]
    digits = {place: str(place) for place in range(10)} | {IGNORED: "?"}
    return " ".join("".join(digits[value] for value in row.tolist()) for row in found.values.values())


def test_first_class_wins_where_features_overlap(tmp_path: Path) -> None:
    merged = {"stranded": False}
    assert read(tmp_path, GFF, ["CDS", "exon", "gene"], **merged) == (
        "002111333311110000000000000000 011111000000"
    )
    assert read(tmp_path, GFF, ["gene", "exon", "CDS"], **merged).startswith("001111111111110")


def test_phase_of_cds_gives_codon_positions_on_both_strands(tmp_path: Path) -> None:
    """On the minus strand base 6 of chr2 is first; two bases come before a whole codon there."""
    found = read(tmp_path, GFF, ["CDS_by_frame"])
    assert found == "000123000012310000000000000000 065465000000"


def test_introns_and_splice_sites_lie_between_exons(tmp_path: Path) -> None:
    kinds = ["donor", "acceptor", "intron"]
    assert read(tmp_path, GFF, kinds, stranded=False).startswith("00000011220000")
    long = GFF.replace("11\t14", "13\t16").replace("3\t14", "3\t16")
    assert read(tmp_path, long, kinds, stranded=False).startswith("000000113322000")
    minus = long.replace("\t+\t", "\t-\t")
    assert read(tmp_path, minus, kinds, stranded=False).startswith("000000223311000")
    assert read(tmp_path, minus, kinds).startswith("000000446622000")


def test_gtf_names_transcript_and_bed12_has_blocks(tmp_path: Path) -> None:
    gtf = (
        'chr1\t.\texon\t3\t6\t.\t+\t.\tgene_id "g"; transcript_id "t";\n'
        'chr1\t.\texon\t11\t14\t.\t+\t.\tgene_id "g"; transcript_id "t";\n'
    )
    assert read(tmp_path, gtf, ["exon", "intron"], "a.gtf", stranded=False).startswith("001111222211110")
    bed = "chr1\t2\t14\tg\t0\t-\t3\t14\t0\t2\t4,4\t0,8\n"
    found = read(tmp_path, bed, ["CDS_by_frame", "intron"], "a.bed")
    assert found.startswith("000465888846540")


def test_column_of_bed_is_the_class(tmp_path: Path) -> None:
    bed = "chr1\t0\t3\tb\t0\t+\nchr1\t2\t5\ta\t0\t-\n"
    assert read(tmp_path, bed, None, "a.bed", column=4, stranded=False).startswith("2211100")
    assert read(tmp_path, bed, ["b"], "a.bed", column=4, stranded=False).startswith("11100")
    assert read(tmp_path, bed, ["b", "a"], "a.bed", column=4).startswith("111440")


@pytest.mark.parametrize(
    ("bed", "words"),
    [
        ("chr1\t0\t3\ta\nchr1\t4\t5\t\n", "a.bed, row 2: column 4 must name a class, .* \\(got ''\\)"),
        ("chr1\t0\t3\tnone\n", "a.bed, row 1: column 4 must name a class, .* \\(got 'none'\\)"),
        ("", "a.bed: no rows"),
    ],
)
def test_column_without_class_is_named_by_row(tmp_path: Path, bed: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        read(tmp_path, bed, None, "a.bed", column=4, stranded=False)


def test_overlapping_strands_and_frames_are_left_out(tmp_path: Path) -> None:
    rows = "chr1\t.\tCDS\t1\t6\t.\t+\t0\tID=a\nchr1\t.\tCDS\t4\t9\t.\t-\t0\tID=b\n"
    assert read(tmp_path, rows, ["CDS"]).startswith("111???2220")
    assert read(tmp_path, rows, ["CDS"], stranded=False).startswith("1111111110")
    frames = "chr1\t.\tCDS\t1\t6\t.\t+\t0\tID=a\nchr1\t.\tCDS\t5\t9\t.\t+\t0\tID=b\n"
    assert read(tmp_path, frames, ["CDS_by_frame"]).startswith("1231??3120")
    same = "chr1\t.\tCDS\t1\t6\t.\t+\t0\tID=a\nchr1\t.\tCDS\t4\t9\t.\t+\t0\tID=b\n"
    assert read(tmp_path, same, ["CDS_by_frame"]).startswith("1231231230")


ROW = "chr1\t.\tgene\t3\t14\t.\t+\t.\tID=g\n"


@pytest.mark.parametrize(
    ("row", "kinds", "words"),
    [
        (ROW.replace("14", "31"), ["gene"], "row 1: ends at 31, but record chr1 of g.fa has 30 bases"),
        (ROW.replace("chr1", "chr9"), ["gene"], "row 1: g.fa has no record 'chr9'; did you mean"),
        (ROW.replace("+", "."), ["gene"], "row 1: gene without a strand; set data.strand=merged"),
        (ROW.replace("gene", "CDS"), ["CDS_by_frame"], r"needs its phase, 0, 1 or 2 in column 8 \(got '.'\)"),
        (ROW, ["exon"], r"data.classes: no row gives 'exon'; .* has gene \(1\)"),
        (ROW, ["gene", "gene"], "data.classes: expected different kinds of features"),
        (ROW, None, "data.classes: which features are told apart is not said"),
        (
            ROW.replace("gene", "exon").replace("ID=g", "."),
            ["intron"],
            "has neither Parent nor transcript_id",
        ),
    ],
)
def test_unusable_row_is_one_line_that_names_it(
    tmp_path: Path, row: str, kinds: list[str] | None, words: str
) -> None:
    with pytest.raises(UserError, match=words) as error:
        read(tmp_path, row, kinds)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "row", "words"),
    [
        ("a.bed", "chr1\t2\t31\tg\t0\t+\n", "row 1: .*31.* record chr1 of g.fa has 30 bases"),
        ("a.bed", "chr9\t2\t14\tg\t0\t+\n", "row 1: g.fa has no record 'chr9'"),
        ("a.bed", "chr1\t2\t14\tg\t0\t.\n", "row 1: .* without a strand; set data.strand=merged"),
        (
            "a.gtf",
            'chr1\t.\tgene\t3\t31\t.\t+\t.\tgene_id "g";\n',
            "row 1: ends at 31, but record chr1 of g.fa has 30 bases",
        ),
    ],
)
def test_row_that_the_genome_lacks_is_refused_in_every_format(
    tmp_path: Path, name: str, row: str, words: str
) -> None:
    kinds, column = (None, 4) if name.endswith(".bed") else (["gene"], None)
    with pytest.raises(UserError, match=words):
        read(tmp_path, row, kinds, name, column=column)


def test_feature_without_strand_counts_where_strands_are_merged(tmp_path: Path) -> None:
    found = read(tmp_path, ROW.replace("+", "."), ["gene"], stranded=False)
    assert found == "001111111111110000000000000000 000000000000"


def test_skipped_rows_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.gff3"
    path.write_text(ROW + ROW.replace("chr1", "chr9") + ROW.replace("+", "?"))
    found = base_classes(path, LENGTHS, "g.fa", kinds=["gene"], unstranded="skip", unknown="skip")
    assert found.notes == [
        "1 rows skipped, on records that the FASTA lacks",
        "1 rows skipped, without a strand",
    ]
    assert int((found.values["chr1"] == 1).sum()) == 12


def test_complement_of_a_class_is_that_of_the_other_strand(tmp_path: Path) -> None:
    """Read backwards and complemented, an annotation is that of the reverse complement."""
    path, other = tmp_path / "a.gff3", tmp_path / "b.gff3"
    path.write_text(GFF)
    turned = []
    for line in GFF.splitlines()[1:]:
        cells = line.split("\t")
        length = LENGTHS[cells[0]]
        cells[3], cells[4] = str(length + 1 - int(cells[4])), str(length + 1 - int(cells[3]))
        cells[6] = {"+": "-", "-": "+"}[cells[6]]
        turned.append("\t".join(cells) + "\n")
    other.write_text("".join(turned))
    kinds = ["CDS_by_frame", "intron"]
    one, two = (base_classes(file, LENGTHS, "g.fa", kinds=kinds) for file in (path, other))
    complement = np.array(one.layout.complement)
    for name in LENGTHS:
        np.testing.assert_array_equal(complement[one.values[name][::-1]], two.values[name])


def test_group_of_a_class_joins_codon_positions() -> None:
    assert [group_of(label) for label in ("CDS2-", "exon", "intron+", "none")] == [
        ("CDS", "-"),
        ("exon", "."),
        ("intron", "+"),
        ("none", "."),
    ]
