"""Settings from Python: a text in the place of a list would be read letter by letter."""

from typing import Any

import pytest

from dnamamba import GenomeConfig, LabelledConfig, RegionsConfig, UserError
from dnamamba.datasets.settings import filled


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("valid", "12", r"data\.valid: must be a list \(got '12'\)"),
        ("circular", "chrM", r"data\.circular: must be a list"),
        ("test", ["chr1", 2], r"data\.test: must be a list of names \(got 2\); write '2'"),
    ],
)
def test_list_of_genome_that_is_not_one_is_refused(key: str, value: Any, words: str) -> None:
    """`valid="12"` held out the records 1 and 2."""
    with pytest.raises(UserError, match=words):
        filled(GenomeConfig(**{key: value}), "dna")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"table": "t.csv", "label_names": "abc"}, r"data\.label_names: must be a list"),
        ({"table": "t.csv", "label_names": True}, r"data\.label_names: must be a list \(got True\)"),
        ({"table": "t.csv", "label_names": []}, r"data\.label_names: is empty"),
        ({"classes": {}}, r"data\.classes: is empty"),
        ({"table": "t.csv", "valid": [10]}, r"data\.valid: must be a list of names \(got 10\)"),
    ],
)
def test_list_of_labelled_data_that_is_not_one_is_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        filled(LabelledConfig(**settings), "dna")


def test_lists_of_names_are_taken_as_given() -> None:
    given = GenomeConfig(valid=["12"], test=[], circular=["chrM"])
    assert filled(given, "dna") == given


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("label", 4, r"regions\.label: must be a text \(got 4\); write '4'"),
        ("circular", "chrM", r"regions\.circular: must be a list \(got 'chrM'\)"),
        ("flank", 2.5, r"regions\.flank: must be a whole number of bases \(got 2\.5\)"),
        ("upstream", "5", r"regions\.upstream: must be a whole number of bases \(got '5'\)"),
        ("downstream", True, r"regions\.downstream: must be a whole number of bases \(got True\)"),
    ],
)
def test_setting_of_regions_of_another_type_is_refused(key: str, value: Any, words: str) -> None:
    """A flank of 2.5 moved a region by 3 bases on one side and 2 on the other."""
    with pytest.raises(UserError, match=words):
        RegionsConfig(**{key: value})


def test_source_without_its_other_half_is_named() -> None:
    with pytest.raises(UserError, match=r"^data\.fasta is not enough by itself: give data\.folder; or"):
        LabelledConfig(fasta="g.fa")
    with pytest.raises(UserError, match=r"^data\.folder, data\.table do not go together: give"):
        LabelledConfig(folder="d", table="t.csv")
