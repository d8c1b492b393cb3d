"""Names of one chromosome in several databases."""

import pytest

from dnamamba.data.synonyms import Synonyms


@pytest.mark.parametrize(
    ("records", "name", "found"),
    [
        (["chr1", "chr10"], "1", "chr1"),
        (["1", "10"], "chr10", "10"),
        (["Chr01", "Chr10"], "chr1", "Chr01"),
        (["chr1", "chrX"], "NC_000001.11", "chr1"),
        (["NC_000023.10"], "chrX", "NC_000023.10"),
        (["NC_000024.10"], "Y", "NC_000024.10"),
        (["Chr5", "ChrC", "ChrM"], "NC_003076.8", "Chr5"),
        (["Chr5", "ChrC", "ChrM"], "Pt", "ChrC"),
        (["chrM"], "MT", "chrM"),
        (["chrM"], "NC_012920.1", "chrM"),
        (["chrX", "chrIX"], "NC_001142.9", "chrX"),  # yeast's tenth
        (["chr1"], "I", None),
        (["chr1"], "NC_000001.12", None),  # no version of ours
        (["chr1", "1"], "Chr1", None),  # which of the two?
        (["scaffold_1"], "1", None),
        (["chr"], "1", None),
    ],
)
def test_name_is_found_by_its_synonym(records: list[str], name: str, found: str | None) -> None:
    synonyms = Synonyms(records)
    assert synonyms.find(name) == found
    assert synonyms.used == ({} if found is None else {name: found})


def test_a_name_of_the_fasta_itself_comes_first() -> None:
    synonyms = Synonyms(["chr1", "1"])
    assert synonyms.find("1") == "1"
    assert synonyms.said() == []
