"""Regions that a caller in Python gives, one of them not as it should be."""

from pathlib import Path

import numpy as np
import pytest

from dnamamba import UserError, get_alphabet
from dnamamba.inference.inputs import Region, read_inputs

DNA = get_alphabet("dna")


def test_regions_of_any_sequence_of_fields(genome: Path) -> None:
    rows = [("one", 0, 9), ["two", "3", np.int64(5), "gene"]]
    assert [tuple(region) for region in read_inputs((genome, rows), DNA).regions] == [
        ("one", 0, 9, "", "+"),
        ("two", 3, 5, "gene", "+"),
    ]


@pytest.mark.parametrize(
    "row", [("one", 0), "one", 7, ("one", "a", 9), ("one", 0, None), {"record": "one"}, ("one", 0, np.inf)]
)
def test_region_with_missing_or_wrong_field(genome: Path, row: object) -> None:
    with pytest.raises(UserError) as error:
        read_inputs((genome, [("one", 0, 9), row]), DNA)
    assert str(error.value) == (
        f"region 1: must be a record, a start and an end, such as ('chr1', 0, 100) (got {row!r})"
    )


@pytest.mark.parametrize("row", [("one", 0.5, 4), ("one", "1_0", 12), ("one", 0, True + 3.25)])
def test_place_that_is_not_whole_is_refused(tmp_path: Path, row: tuple[object, ...]) -> None:
    """`int` would cut 0.5 to 0, and read 1_0 as 10."""
    (tmp_path / "g.fa").write_text(">one\nACGTACGTACGTACGT\n")
    with pytest.raises(UserError, match=r"^region 0: must be a record, a start and an end"):
        read_inputs((tmp_path / "g.fa", [row]), get_alphabet("dna"))


def test_missing_name_and_strand_of_row_are_none(tmp_path: Path) -> None:
    (tmp_path / "g.fa").write_text(">one\nACGTACGTACGTACGT\n")
    found = read_inputs((tmp_path / "g.fa", [("one", 1.0, "4", None, None)]), get_alphabet("dna"))
    assert found.regions == [Region("one", 1, 4, "", "+")]
