"""Labels that are classes by their spelling alone are refused; a declared one is believed."""

import numpy as np
import pytest

from dnamamba import UserError
from dnamamba.data.multi_targets import finite_number
from dnamamba.data.partition import Assignment
from dnamamba.data.targets import targets_of


def classes(labels: list[str], declared: list[str] | None = None, reads: str = "class") -> tuple:
    """The classes of labels that every split has."""
    labels = labels * 3
    split = Assignment(np.repeat(np.arange(3, dtype=np.int8), len(labels) // 3), "")
    found = targets_of(reads, labels, [f"s{number}" for number in range(len(labels))], declared, split)
    return found.names


@pytest.mark.parametrize("label", ["nan", "NaN", "<NA>", "NaT", "#N/A"])
@pytest.mark.parametrize("reads", ["class", "labels"])
def test_missing_value_is_not_a_class(label: str, reads: str) -> None:
    with pytest.raises(UserError, match=f"label '{label}': a missing value and not a class"):
        classes(["a", "b", label], reads=reads)
    assert classes(["a", label], [label, "a"], reads) == (label, "a")


@pytest.mark.parametrize(
    "pair",
    [
        *(("1", "1.0"), ("0", "0."), ("-2", "-2.00"), ("1e3", "1000"), ("10", "1E1")),
        *(("1,0", "1.0"), ("0,50", "0,5"), ("1,000", "1000"), ("1,000", "1"), ("1,234,567", "1234567.0")),
    ],
)
def test_one_number_written_in_two_ways_is_refused(pair: tuple[str, str]) -> None:
    with pytest.raises(UserError, match="the same number, written in two ways"):
        classes([*pair, "7"])
    assert set(classes([*pair, "7"], [*pair, "7"])) == {*pair, "7"}


@pytest.mark.parametrize("text", ["1_000", "\u0661\u0662", "nan", "inf", "1e999", "1,5", "0x10", "+-1", ""])
def test_text_that_only_python_takes_for_number_is_refused(text: str) -> None:
    """`float` reads 1_000 as 1000 and digits of every script."""
    split = Assignment(np.arange(3, dtype=np.int8), "")
    with pytest.raises(UserError, match="1 regression target"):
        targets_of("number", ["1", text, "-.5e-3"], ["x", "y", "z"], None, split)
    with pytest.raises(UserError, match="which is not a finite number"):
        finite_number(text, "it is")


@pytest.mark.parametrize(
    "names",
    [
        ("1", "2"),
        ("01", "1"),
        ("1_0", "10"),
        ("1.0", "2.0"),
        ("NA", "HA"),
        ("inf", "a"),
        ("1,2", "12"),
        ("0,5", "1,5"),
    ],
)
def test_names_that_differ_are_classes(names: tuple[str, str]) -> None:
    assert classes(list(names)) == tuple(sorted(names))


def test_letters_in_two_ways_of_unicode_are_refused() -> None:
    pair = ["\u00e9", "e\u0301"]
    with pytest.raises(UserError, match=r"'e\\u0301' and '\\xe9': the same letters"):
        classes(pair)
    assert classes(pair, pair) == tuple(pair)


@pytest.mark.parametrize("names", [("test", "train"), ("Dev", "TRAIN", "testing")])
def test_names_of_splits_are_not_classes(names: tuple[str, ...]) -> None:
    """`train.fa` and `test.fa` in a folder, or a BED of intervals."""
    with pytest.raises(UserError, match=r"expected classes, got names of splits; give a column split"):
        classes(list(names))
    assert classes(list(names), list(names)) == names
    assert classes(["test", "control"]) == ("control", "test")
    assert classes(["train", "training"]) == ("train", "training")
