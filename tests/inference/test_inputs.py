"""Regions that a caller in Python gives, one of them not as it should be."""

from pathlib import Path

import numpy as np
import pytest

from dnamamba import UserError, get_alphabet
from dnamamba.inference.inputs import read_inputs

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
