"""Splits, sequences on both sides of one, and labels as numbers."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnamamba import UserError, get_alphabet
from dnamamba.data.examples import Collector, Examples
from dnamamba.data.intervals import Interval
from dnamamba.data.partition import (
    SPLITS,
    Assignment,
    Shared,
    assign,
    groups_apart,
    sequence_keys,
    shared_bases,
    shared_sequences,
)
from dnamamba.data.targets import targets_of

DNA = get_alphabet("dna")


def build(sequences: list[str], splits: list[str] | None = None, groups: list[str] | None = None) -> Examples:
    collector = Collector(DNA)
    for number, sequence in enumerate(sequences):
        letters = np.frombuffer(sequence.encode(), dtype=np.uint8)
        split = splits[number] if splits else ""
        collector.add(letters, f"s{number}", f"s{number}", "a", split, groups[number] if groups else "")
    return collector.examples()


def split_of(examples: Examples, **changes: Any) -> Assignment:
    arguments: dict[str, Any] = {"valid": None, "test": None, "valid_fraction": 0.2, "test_fraction": 0.3}
    return assign(examples, sequence_keys(examples, DNA), **{**arguments, **changes})


def random_sequences(number: int, length: int = 12) -> list[str]:
    drawn = np.random.default_rng(0).choice(list("ACGT"), (number, length))
    return ["".join(row) for row in drawn]


def reverse_complement(sequence: str) -> str:
    return sequence[::-1].translate(str.maketrans("ACGT", "TGCA"))


@settings(max_examples=50, deadline=None)
@given(st.text("ACGTN", min_size=1, max_size=40), st.text("ACGTN", min_size=1, max_size=40))
def test_reverse_complement_has_the_same_key(one: str, other: str) -> None:
    keys = sequence_keys(build([one, reverse_complement(one), other]), DNA)
    assert keys[0] == keys[1]
    assert (keys[0] == keys[2]) == (other in (one, reverse_complement(one)))


def test_groups_in_two_splits_are_counted() -> None:
    examples = build(random_sequences(6), groups=["a", "a", "b", "b", "", "c"])
    assert groups_apart(examples, Assignment(np.array([0, 1, 2, 2, 0, 1], dtype=np.int8), "")) == 1
    assert groups_apart(build(random_sequences(3)), Assignment(np.arange(3, dtype=np.int8), "")) == 0


def test_hash_gives_shares_and_keeps_twins_together() -> None:
    sequences = random_sequences(4000)
    split = split_of(build([*sequences, *(reverse_complement(s) for s in sequences)]))
    assert split.how == "a hash of the sequence"
    assert np.array_equal(split.numbers[:4000], split.numbers[4000:])
    shares = np.bincount(split.numbers, minlength=3) / split.numbers.size
    assert shares == pytest.approx([0.5, 0.2, 0.3], abs=0.03)
    again = split_of(build(sequences[::-1]))  # of the sequence alone, not of its place
    assert np.array_equal(again.numbers[::-1], split.numbers[:4000])


def labelled(sequences: list[str], labels: list[str], splits: list[str] | None = None) -> Examples:
    return replace(build(sequences, splits), labels=labels)


def test_stratified_hash_holds_out_the_same_share_of_each_label() -> None:
    sequences, labels = random_sequences(1034), ["a"] * 1000 + ["b"] * 30 + ["c"] * 4
    split = split_of(labelled(sequences, labels), stratify=True)
    assert split.how == "a hash of the sequence, within each label"
    found = {
        name: np.bincount(split.numbers[np.array(labels) == name], minlength=3).tolist() for name in "abc"
    }
    assert found == {"a": [500, 200, 300], "b": [15, 6, 9], "c": [2, 1, 1]}
    again = split_of(labelled(sequences[::-1], labels[::-1]), stratify=True)
    assert np.array_equal(again.numbers[::-1], split.numbers)


def test_stratified_hash_keeps_twins_together_whatever_their_labels() -> None:
    sequences = random_sequences(100)
    twins = [*sequences, *(reverse_complement(s) for s in sequences)]
    split = split_of(labelled(twins, ["a", "b"] * 50 + ["b", "a"] * 50), stratify=True)
    assert np.array_equal(split.numbers[:100], split.numbers[100:])
    assert np.bincount(split.numbers).tolist() == [100, 40, 60]


def test_stratified_hash_cuts_only_what_the_files_lack() -> None:
    given_ = ["train"] * 20 + ["test"] * 2
    split = split_of(
        labelled(random_sequences(22), ["a"] * 10 + ["b"] * 10 + ["a", "b"], given_), stratify=True
    )
    assert (split.numbers[20:] == 2).all()
    assert [
        np.bincount(part, minlength=3).tolist() for part in (split.numbers[:10], split.numbers[10:20])
    ] == [
        [8, 2, 0],
        [8, 2, 0],
    ]


def test_splits_as_given_and_one_that_is_missing() -> None:
    given_ = ["train"] * 300 + ["Test"] * 2
    split = split_of(build(random_sequences(302), given_))
    assert split.how == "the files' own split, validation by a hash"
    assert (split.numbers[300:] == 2).all()
    assert set(split.numbers[:300].tolist()) == {0, 1}
    whole = split_of(build(random_sequences(3), ["training", "dev", "testing"]))
    assert whole == (pytest.approx([0, 1, 2]), "the files' own split", ())


def test_groups_go_before_the_files_own_split() -> None:
    groups = ["chr1", "chr2", "chr3", "chr1"]
    split = split_of(build(random_sequences(4), ["train"] * 4, groups), valid=["chr2"], test=["chr3"])
    assert split.numbers.tolist() == [0, 1, 2, 0]


@pytest.mark.parametrize(
    ("examples", "changes", "message"),
    [
        (build(["AC", "GT"], ["train", "tset"]), {}, "sequence s1: split: expected one of train, training"),
        (build(["AC", "GT"]), {"valid": ["chr1"]}, "data.valid and data.test name groups, but the data has"),
        (
            build(["AC", "GT"], groups=["chr1", "chr2"]),
            {"valid": ["chr11"]},
            "data.valid: no group 'chr11'; did you mean chr1 or chr2?",
        ),
        (
            build(["AC", "GT"], groups=["chr1", "chr2"]),
            {"valid": ["chr1"], "test": ["chr1"]},
            "group 'chr1' is in both data.valid and data.test",
        ),
        (
            build(["AC", "GT"], groups=["chr1", "chr2"]),
            {"valid": ["chr1"], "test": ["chr2"]},
            "the train split is empty (2 sequences",
        ),
        (build(["AC"]), {}, "split is empty (1 sequences, split by a hash of the sequence)"),
    ],
)
def test_a_split_that_can_not_be(examples: Examples, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        split_of(examples, **changes)
    assert message in str(error.value)


def test_sequences_on_both_sides_are_counted() -> None:
    sequences = ["AACC", "GGTT", "ACGA", "AACC", "TCGT", "CCCA"]
    splits = ["train", "test", "train", "valid", "test", "valid"]  # s1 is s0's reverse complement, s4 is s2's
    examples = build(sequences, splits)
    found = shared_sequences(examples, sequence_keys(examples, DNA), split_of(examples))
    assert [(s.number, s.second, s.what.split()[2], s.example) for s in found] == [
        (1, "valid", "train", "s3"),
        (2, "test", "train", "s1"),
        (1, "test", "valid", "s1"),
    ]
    assert str(found[1]) == (
        "2 of the test sequences are in train too, or their reverse complements are, the first is s1"
    )
    apart = build(["AACC", "ACGA", "CCCA"], ["train", "valid", "test"])
    assert shared_sequences(apart, sequence_keys(apart, DNA), split_of(apart)) == []


EVEN = Assignment(np.array([0, 0, 1, 1, 2, 2], dtype=np.int8), "hand")
NAMES = [f"s{number}" for number in range(6)]


def test_classes_are_numbered_by_name_or_as_declared() -> None:
    labels = ["b", "a", "b", "a", "a", "b"]
    targets = targets_of("class", labels, NAMES, None, EVEN)
    assert targets.names == ("a", "b")
    assert targets.values.tolist() == [1, 0, 1, 0, 0, 1]
    assert targets.values.dtype == np.int64
    assert targets_of("class", labels, NAMES, ["b", "a"], EVEN).values.tolist() == [0, 1, 0, 1, 1, 0]
    assert targets.counts(EVEN.numbers == 0) == [1, 1]


def test_several_labels_and_none() -> None:
    targets = targets_of("labels", ["x; y", "x", "y;x", "x", "", "x;y"], NAMES, None, EVEN)
    assert targets.names == ("x", "y")
    assert targets.values.tolist() == [[1, 1], [1, 0], [1, 1], [1, 0], [0, 0], [1, 1]]
    assert targets.counts(EVEN.numbers == 2) == [1, 1]


def test_numbers() -> None:
    targets = targets_of("number", ["1", "-2.5", "1e3", " 4", "10000.123456789", "1e200"], NAMES, None, EVEN)
    assert targets.values[:, 0].tolist() == [1, -2.5, 1000, 4, 10000.123456789, 1e200]
    single = np.array([1, -2.5, 1000, 4, 10000.123456789, np.inf], dtype=np.float32)
    assert targets.identity() == single.tobytes()  # as runs of before float64 have it in their checkpoints


@pytest.mark.parametrize(
    ("reads", "labels", "declared", "message"),
    [
        ("ranking", "aabbab", None, "a head must read one of class, labels, number (got 'ranking')"),
        ("class", "aaaaaa", None, "only one class, a: a classification needs two or more"),
        ("class", "aaabab", ["a", "c"], "sequence s3: unknown label 'b'; the labels are a, c"),
        ("class", "ababab", ["a", "b", "a"], "data.label_names has a name twice: a, b, a"),
        (
            "class",
            "abaaab",
            None,
            "class 'b' is missing from the valid split (train 1, valid 0, test 1; split by hand)",
        ),
        ("class", "ababab", ["a", "b", "c"], "class 'c' is missing from the train split"),
        ("labels", ["", "", "", "", "", ""], None, "no sequence has a label"),
        (
            "number",
            ["1", "x", "", "nan", "inf", "2"],
            None,
            "4 regression target(s) are not finite numbers, the first is 'x' of sequence s1",
        ),
        (
            "number",
            ["1.234.567", "1.0"] * 3,
            None,
            "'1.234.567' of sequence s0; write thousands without points",
        ),
    ],
)
def test_labels_that_can_not_be_learnt(
    reads: str, labels: str | list[str], declared: list[str] | None, message: str
) -> None:
    with pytest.raises(UserError) as error:
        targets_of(reads, list(labels), NAMES, declared, EVEN)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_names_of_peaks_are_not_classes_unless_declared() -> None:
    labels = [f"peak_{number // 2}" for number in range(19)]
    split = Assignment(np.arange(19, dtype=np.int8) % 3, "hand")
    with pytest.raises(UserError) as error:
        targets_of("class", labels, labels, None, split)
    assert str(error.value).startswith(
        "10 labels of 19 sequences (peak_0, peak_1 and 8 more): expected classes, got names; give the column "
        "with the classes (data.regions.label of a BED, data.columns.label of a table), predict a number (of "
        "a narrowPeak data.regions.label=7 data.task=regression)"
    )
    with pytest.raises(UserError, match="is missing from the"):
        targets_of("class", labels, labels, sorted(set(labels)), split)


def test_the_splits_have_names() -> None:
    assert SPLITS == ("train", "valid", "test")


@given(
    intervals=st.lists(
        st.tuples(st.sampled_from("ab"), st.integers(0, 40), st.integers(1, 9), st.integers(0, 2)),
        min_size=1,
        max_size=12,
    )
)
def test_shared_bases_equal_a_count_base_by_base(intervals: list[tuple[str, int, int, int]]) -> None:
    places = [Interval(name, start, start + size) for name, start, size, _ in intervals]
    numbers = np.array([split for *_, split in intervals], dtype=np.int8)
    names = [f"s{row}" for row in range(len(places))]
    none = np.empty(0, dtype=np.uint8)
    examples = Examples(names, none, np.zeros(len(names) + 1, dtype=np.int64), names, None, None, places)
    bases = [{(place.name, base) for base in range(place.start, place.end)} for place in places]
    expected = []
    for first, second in ((0, 1), (0, 2), (1, 2)):
        there = {base for row, of in enumerate(bases) if numbers[row] == first for base in of}
        rows = [row for row in np.flatnonzero(numbers == second) if bases[row] & there]
        if rows:
            what = f"share bases of the genome with {SPLITS[first]}"
            expected.append(Shared(len(rows), SPLITS[second], what, f"s{rows[0]}"))
    assert shared_bases(examples, Assignment(numbers, "")) == expected
