"""How much of a test split is in the training split already: copies, reverse complements, near duplicates.

Two sequences are near duplicates where one training sequence has at least half of a test sequence's words of
`WORD` bases, on either strand. Words are compared by a sketch, the same hashes of every sequence (Broder
1997, On the resemblance and containment of documents; the scaled form is that of Irber et al. 2022).
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dnamamba.data.words import Bases
from dnamamba.datasets.base import DataModule
from dnamamba.models.pooling import base_table

WORD = 21
NEAR = 0.5
# Training sequences that a test sequence is compared with: those of its rarest words.
_RARE, _OWNERS = 8, 8
_MOST_HASHES = 1 << 22
# The most sequences that are compared: of training, of training that is drawn without end, of the test.
MOST_TRAINING, MOST_DRAWN, MOST_TEST = 1_000_000, 4_000, 5_000
_MOST_BASES = 1 << 27
_TOGETHER = 1 << 22  # bases that are hashed at a time

Codes = NDArray[np.uint64]


@dataclass(frozen=True)
class Leakage:
    """What the splits have in common.

    Attributes:
        tested, trained: sequences of the test and of the training split that were compared.
        identical: test sequences that are in training, as they are or as reverse complements.
        near: test sequences of which one training sequence has half of the words or more, those included;
            None where they are too short. At least so many: only the likeliest owners are looked at.
        word: bases of a word.
    """

    tested: int
    trained: int
    identical: int
    near: int | None
    word: int = WORD

    def __str__(self) -> str:
        one = (
            f"leakage: of {self.tested:,} test sequences {self.identical:,} "
            f"({self.identical / self.tested:.1%}) are in training, or their reverse complements are"
        )
        if self.near is None:
            return f"{one}; near duplicates are not counted: sequences are shorter than {2 * self.word} bases"
        return (
            f"{one}; {self.near:,} ({self.near / self.tested:.1%}) share {NEAR:.0%} of their "
            f"{self.word}-mers or more with one of {self.trained:,} training sequences"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return asdict(self)


def audit(data: DataModule) -> Leakage:
    """Compare the test split of a data set with its training split."""
    table = base_table(data.alphabet.name).numpy()
    left = data.padding == "left"
    most = MOST_DRAWN if data.training_sequences is None else MOST_TRAINING
    train = _rows(data.training_batches(most, _MOST_BASES), table, left, most)
    test = _rows(dict(data.held_out_loaders())["test"], table, left)
    if len(test) > MOST_TEST:
        test = [test[i] for i in np.linspace(0, len(test) - 1, MOST_TEST).astype(np.int64)]
    return compare(train, test)


def compare(train: Sequence[Bases], test: Sequence[Bases]) -> Leakage:
    """Compare the sequences of two splits, and count what they share.

    Args:
        train, test: bases of each, 0 to 3; whatever is larger is not a base.
    """
    known = {_either_strand(row) for row in train}
    same = np.array([_either_strand(row) in known for row in test])
    if min(row.size for row in test) < 2 * WORD:
        return Leakage(len(test), len(train), int(same.sum()), None)
    total = sum(row.size for row in (*train, *test))
    share = min(1.0, _MOST_HASHES / total)
    near = same | _near(sketches(train, share), sketches(test, share))
    return Leakage(len(test), len(train), int(same.sum()), int(near.sum()))


def sketches(rows: Sequence[Bases], share: float = 1.0, word: int = WORD) -> list[Codes]:
    """Return the words of each row, as sorted hashes without repetition that are the same on both strands.

    Args:
        rows: bases of each.
        share: of all words that is kept, whichever row they are in.
        word: bases of a word.
    """
    below = np.uint64(min(int(share * 2**64), 2**64 - 1))
    found: list[Codes] = []
    first = 0
    while first < len(rows):
        last, bases = first + 1, rows[first].size
        while last < len(rows) and bases + rows[last].size <= _TOGETHER:
            bases += rows[last].size
            last += 1
        found += _sketched(rows[first:last], below, word)
        first = last
    return found


def _sketched(rows: Sequence[Bases], below: np.uint64, word: int) -> list[Codes]:
    """Sketch rows that are hashed together; a k-mer that crosses from one to the next is left out."""
    bases = np.concatenate([*rows, np.full(word, 4, dtype=np.uint8)]).astype(np.uint64)
    row = np.repeat(np.arange(len(rows)), [one.size for one in rows])
    number = row.size
    forward, backward = np.zeros(number, dtype=np.uint64), np.zeros(number, dtype=np.uint64)
    whole = np.ones(number, dtype=bool)
    for place in range(word):
        part = bases[place : place + number]
        whole &= part < 4
        forward |= (part & np.uint64(3)) << np.uint64(2 * (word - 1 - place))
        backward |= (np.uint64(3) - (part & np.uint64(3))) << np.uint64(2 * place)
    ends = np.concatenate([row[word - 1 :], np.full(min(word - 1, number), -1)])
    kept = np.flatnonzero(whole & (ends == row))
    mixed, row = _mixed(np.minimum(forward, backward)[kept]), row[kept]
    mixed, row = mixed[mixed <= below], row[mixed <= below]
    order = np.lexsort((mixed, row))
    mixed, row = mixed[order], row[order]
    new = np.ones(row.size, dtype=bool)
    new[1:] = (mixed[1:] != mixed[:-1]) | (row[1:] != row[:-1])
    return np.split(mixed[new], np.searchsorted(row[new], np.arange(1, len(rows))))


def _mixed(codes: Codes) -> Codes:
    """Return hashes of codes, one to one: the finaliser of splitmix64 (Steele et al. 2014)."""
    codes = (codes ^ (codes >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    codes = (codes ^ (codes >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return codes ^ (codes >> np.uint64(31))


def _near(train: list[Codes], test: list[Codes]) -> NDArray[np.bool_]:
    """Return whether one training sketch holds at least `NEAR` of each test sketch."""
    words = np.concatenate([*train, np.empty(0, dtype=np.uint64)])
    owners = np.repeat(np.arange(len(train)), [len(one) for one in train])
    order = np.argsort(words, kind="stable")
    words, owners = words[order], owners[order]
    found = np.zeros(len(test), dtype=bool)
    for number, one in enumerate(test):
        first, last = np.searchsorted(words, one), np.searchsorted(words, one, side="right")
        there = np.flatnonzero(last > first)
        # A near duplicate has half of the words, thus words that few others have.
        if 2 * there.size < one.size or not there.size:
            continue
        rare = there[np.argsort((last - first)[there], kind="stable")[:_RARE]]
        likely = {
            owner for i in rare for owner in owners[first[i] : min(last[i], first[i] + _OWNERS)].tolist()
        }
        found[number] = any(
            np.isin(one, train[owner], assume_unique=True).sum() >= NEAR * one.size for owner in likely
        )
    return found


def _either_strand(row: Bases) -> bytes:
    other = np.where(row < 4, 3 - row.astype(np.int16), row)[::-1].astype(np.uint8)
    return min(row.astype(np.uint8).tobytes(), other.tobytes())


def _rows(
    batches: Iterable[Any], table: NDArray[np.uint8], left: bool, most: int | None = None
) -> list[Bases]:
    """Return the bases of each sequence of batches, until there are `most` or too many bases."""
    rows: list[Bases] = []
    done = 0
    for batch in batches:
        tokens = table[batch["tokens"].numpy().astype(np.int64)]
        width = tokens.shape[1]
        lengths = batch["lengths"].tolist() if "lengths" in batch else [width] * len(tokens)
        rows += [
            row[width - length :] if left else row[:length]
            for row, length in zip(tokens, lengths, strict=True)
        ]
        done += tokens.size
        if most is not None and (len(rows) >= most or done > _MOST_BASES):
            break
    return rows
