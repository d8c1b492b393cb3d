"""Which examples train, validate and test; and whether the same sequence is on both sides."""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dnamamba.data.alphabet import Alphabet
from dnamamba.data.examples import Examples
from dnamamba.data.folders import SPLIT_NAMES
from dnamamba.data.intervals import Interval, joined, unknown_record
from dnamamba.data.stateless import UInt64s
from dnamamba.data.synonyms import Synonyms
from dnamamba.errors import UserError

SPLITS = ("train", "valid", "test")


class Assignment(NamedTuple):
    """The split of each example, int8 [n], counting `SPLITS`; how it was made; those that a hash held out."""

    numbers: NDArray[np.int8]
    how: str
    hashed: tuple[int, ...] = ()


def sequence_keys(examples: Examples, alphabet: Alphabet) -> UInt64s:
    """Hash each sequence, uint64 [n]; the same for a sequence and its reverse complement."""
    keys = np.empty(len(examples), dtype=np.uint64)
    for number in range(len(examples)):
        forward = examples[number]
        strand = min(forward.tobytes(), alphabet.reverse_complement(forward).tobytes())
        keys[number] = int.from_bytes(hashlib.blake2b(strand, digest_size=8).digest(), "little")
    return keys


def assign(
    examples: Examples,
    keys: UInt64s,
    *,
    valid: Sequence[str] | None,
    test: Sequence[str] | None,
    valid_fraction: float,
    test_fraction: float,
    stratify: bool = False,
) -> Assignment:
    """Return the split of each example: by named groups, else as the files say, else by the sequence's hash.

    What the files' splits leave out, validation or test, is cut from their training examples by the hash. A
    hash puts identical sequences, and reverse complements, on one side.

    Args:
        examples: what is split.
        keys: of `sequence_keys`.
        valid, test: names of groups (chromosomes) to hold out.
        valid_fraction, test_fraction: shares that a hash holds out.
        stratify: of every label as it is written the same share, and at least one sequence of three.

    Raises:
        UserError: an unknown group or split, or a split that is left empty.
    """
    if valid is not None or test is not None:
        numbers, how = _by_group(examples, valid, test)
    elif examples.splits is not None:
        numbers, how = _as_given(examples), "the files' own split"
    else:
        numbers, how = np.zeros(len(examples), dtype=np.int8), ""
    missing = [
        (number, name, fraction)
        for number, name, fraction in ((2, "test", test_fraction), (1, "validation", valid_fraction))
        if not (numbers == number).any()
    ]
    if stratify:
        _by_class(numbers, keys, examples.labels, [(number, fraction) for number, _, fraction in missing])
    else:
        share = (keys >> np.uint64(11)) * 2.0**-53
        for number, _, fraction in missing:
            least = 0.0 if number == 2 else test_fraction
            numbers[(numbers == 0) & (share >= least) & (share < least + fraction)] = number
    if missing:
        cut = " and ".join(name for _, name, _ in missing)
        how = f"{how}, {cut} by a hash" if how else "a hash of the sequence"
        how += ", within each label" if stratify else ""
    for number, name in enumerate(SPLITS):
        if not (numbers == number).any():
            raise UserError(f"the {name} split is empty ({len(examples):,} sequences, split by {how})")
    return Assignment(numbers, how, tuple(number for number, _, _ in missing))


def _by_class(
    numbers: NDArray[np.int8], keys: UInt64s, labels: Sequence[str], cuts: Sequence[tuple[int, float]]
) -> None:
    """Give splits their share of the training examples of each label, in the order of the hash.

    A sequence that is there twice stays on one side, also if its labels differ: the first counts.
    """
    free = np.flatnonzero(numbers == 0)
    unique, first, inverse = np.unique(keys[free], return_index=True, return_inverse=True)
    label_of = np.array(labels)[free][first]
    split_of = np.zeros(unique.size, dtype=np.int8)
    for label in np.unique(label_of):
        members = np.flatnonzero(label_of == label)
        start = 0
        for number, fraction in cuts if members.size > len(cuts) else ():
            end = start + max(1, round(fraction * members.size))
            split_of[members[start:end]] = number
            start = end
    numbers[free] = split_of[inverse]


def _by_group(
    examples: Examples, valid: Sequence[str] | None, test: Sequence[str] | None
) -> tuple[NDArray[np.int8], str]:
    if examples.groups is None:
        raise UserError("data.valid and data.test name groups, but the data has none: give a column `group`")
    groups = np.array(examples.groups)
    known = dict.fromkeys(examples.groups)
    synonyms = Synonyms(known)
    numbers = np.zeros(len(examples), dtype=np.int8)
    for number, key, names in ((1, "data.valid", valid), (2, "data.test", test)):
        for given in names or ():
            name = synonyms.find(given) or given
            if name not in known:
                raise UserError(f"{key}: {unknown_record(name, known).replace('record', 'group', 2)}")
            if (numbers[groups == name] != 0).any():
                raise UserError(f"group {name!r} is in both data.valid and data.test, or named twice")
            numbers[groups == name] = number
    return numbers, "; ".join(["data.valid and data.test", *synonyms.said()])


def groups_apart(examples: Examples, split: Assignment) -> int:
    """Count the groups with sequences in two splits; 0 without groups."""
    pairs = set(zip(examples.groups or (), split.numbers.tolist(), strict=False))
    return sum(number > 1 for name, number in Counter(name for name, _ in pairs).items() if name)


def _as_given(examples: Examples) -> NDArray[np.int8]:
    assert examples.splits is not None
    numbers = np.empty(len(examples), dtype=np.int8)
    for row, written in enumerate(examples.splits):
        split = SPLIT_NAMES.get(written.lower())
        if split is None:
            known = ", ".join(SPLIT_NAMES)
            raise UserError(
                f"sequence {examples.names[row]}: split: expected one of {known} (got {written!r})"
            )
        numbers[row] = SPLITS.index(split)
    return numbers


class Shared(NamedTuple):
    """What two splits have in common."""

    number: int  # examples of `second`
    second: str
    what: str
    example: str  # the name of one

    def __str__(self) -> str:
        return f"{self.number:,} of the {self.second} sequences {self.what}, the first is {self.example}"


def shared_sequences(examples: Examples, keys: UInt64s, split: Assignment) -> list[Shared]:
    """Count sequences that are in two splits, as they are or as reverse complements.

    Args:
        examples: all sequences.
        keys: uint64 [n], from `sequence_keys`.
        split: of each sequence.
    """
    found = []
    for first, second in ((0, 1), (0, 2), (1, 2)):
        rows = np.flatnonzero(split.numbers == second)
        both = rows[np.isin(keys[rows], keys[split.numbers == first])]
        if both.size:
            what = f"are in {SPLITS[first]} too, or their reverse complements are"
            found.append(Shared(both.size, SPLITS[second], what, examples.names[both[0]]))
    return found


def shared_bases(examples: Examples, split: Assignment) -> list[Shared]:
    """Count a split's intervals that overlap another's; a hash does not keep neighbours together."""
    if examples.places is None:
        return []
    found = []
    for first, second in ((0, 1), (0, 2), (1, 2)):
        there = joined(
            place for place, number in zip(examples.places, split.numbers, strict=True) if number == first
        )
        rows = [
            row
            for row in np.flatnonzero(split.numbers == second).tolist()
            if _overlaps(examples.places[row], there)
        ]
        if rows:
            what = f"share bases of the genome with {SPLITS[first]}"
            found.append(Shared(len(rows), SPLITS[second], what, examples.names[rows[0]]))
    return found


def _overlaps(place: Interval, others: Sequence[Interval]) -> bool:
    """Return whether an interval shares a base with one of these, which are sorted and do not overlap."""
    before = bisect_left(others, Interval(place.name, place.end, 0)) - 1
    return before >= 0 and others[before].name == place.name and others[before].end > place.start
