"""Tables of record names: UCSC's and NCBI's, before the built-in synonyms."""

from pathlib import Path

import pytest

from dnamamba import Genome, UserError, get_alphabet
from dnamamba.data.aliases import read_aliases
from dnamamba.data.regions import parse_region
from dnamamba.data.synonyms import Synonyms

UCSC = "# ucsc\tassembly\trefseq\nchr1\t1\tNC_000067.7\nchr1_un\tscaf_9\tNT_166280.1\nchr2\t2\tNC_000068.8\n"
NCBI = (
    "# Assembly name: test\n"
    "# Sequence-Name\tSequence-Role\tAssigned-Molecule\tGenBank-Accn\tRelationship\tRefSeq-Accn"
    "\tSequence-Length\tUCSC-style-name\r\n"
    "1\tassembled-molecule\t1\tCM000994.3\t=\tNC_000067.7\t195\tchr1\r\n"
    "scaf_9\tunlocalized-scaffold\t1\tGL456210.1\t=\tNT_166280.1\t169\tna\r\n"
)


@pytest.fixture
def fasta(tmp_path: Path) -> Path:
    (tmp_path / "g.fa").write_text(">chr1\nACGTACGT\n>chr1_un\nACGT\n")
    return tmp_path / "g.fa"


def genome(fasta: Path, table: str) -> Genome:
    fasta.with_name("g.fa.aliases").write_bytes(table.encode())
    return Genome(fasta, get_alphabet("dna"))


def test_accession_of_table_is_found_and_said(fasta: Path) -> None:
    lengths = genome(fasta, UCSC).lengths
    synonyms = Synonyms(lengths)
    assert synonyms.find("NT_166280.1") == "chr1_un"
    assert parse_region("NC_000067.7:2-5", lengths, synonyms) == ("chr1", 1, 5)
    assert synonyms.said() == [
        "chromosome names matched by synonyms: NT_166280.1 is chr1_un, NC_000067.7 is chr1"
    ]
    assert synonyms.find("chr2") is None  # a row of a record that the FASTA lacks


def test_report_of_ncbi_gives_its_names_alone(tmp_path: Path) -> None:
    (tmp_path / "t").write_text(NCBI)
    assert read_aliases(tmp_path / "t", ["chr1", "GL456210.1"]) == {
        "1": "chr1",
        "CM000994.3": "chr1",
        "NC_000067.7": "chr1",
        "scaf_9": "GL456210.1",
        "NT_166280.1": "GL456210.1",
    }


def test_table_comes_before_built_in_names(fasta: Path) -> None:
    assert Synonyms(genome(fasta, "chr1_un\t1\n").lengths).find("1") == "chr1_un"
    assert Synonyms(genome(fasta, "chr1_un\tx\n").lengths).find("1") == "chr1"


def test_lengths_are_those_of_the_file(fasta: Path) -> None:
    assert genome(fasta, UCSC).lengths == {"chr1": 8, "chr1_un": 4}


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("chr1\tx\nchr1_un\tx\n", r"g\.fa\.aliases, row 2: x means chr1 and chr1_un; mend the table$"),
        ("chr1\tchr1_un\n", r"row 1: chr1 and chr1_un are two records of the FASTA; mend it$"),
        ("chrA 1\n", r"g\.fa\.aliases: no row has the name of a record, such as chr1; give the table"),
    ],
)
def test_table_that_is_ambiguous_or_of_another_assembly_is_refused(
    table: str, said: str, fasta: Path
) -> None:
    with pytest.raises(UserError, match=said):
        _ = genome(fasta, table).lengths
