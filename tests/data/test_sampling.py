import numpy as np
import pytest
from Bio.Seq import Seq
from hypothesis import given, settings
from hypothesis import strategies as st

from dnamamba.data.alphabet import get_alphabet
from dnamamba.data.fasta import Genome
from dnamamba.data.intervals import Interval
from dnamamba.data.sampling import RandomWindows, Windows, gather, record_names, tiled_windows
from dnamamba.errors import UserError

GOLDEN_SMALL = ["b:7-28(-)", "a:101-122(+)", "a:106-127(+)", "a:119-140(-)", "a:121-142(-)", "b:2-23(-)"]
GOLDEN_LARGE = [
    "chr:54974083319-54974084344(-)",
    "chr:123036121020-123036122045(+)",
    "chr:281009241029-281009242054(-)",
]
FIRST = np.arange(40_000)
SOME = (Interval("a", 100, 160), Interval("b", 0, 30), Interval("a", 10, 33))


def chi_square(counts):
    """Pearson's statistic against equal odds, less its mean and in units of its standard deviation."""
    degrees = counts.size - 1
    expected = counts.sum() / counts.size
    return (((counts - expected) ** 2 / expected).sum() - degrees) / np.sqrt(2 * degrees)


@pytest.fixture(scope="module")
def genome(tmp_path_factory):
    letters = np.frombuffer(b"ACGTN", dtype=np.uint8)
    text = letters[np.random.default_rng(0).integers(5, size=400)].tobytes().decode()
    path = tmp_path_factory.mktemp("genome") / "g.fa"
    path.write_text(f">a\n{text[:300]}\n>b\n{text[300:]}\n")
    return Genome(path, get_alphabet("dna"))


def test_every_start_of_every_interval_is_equally_likely():
    windows = RandomWindows(SOME, 20, seed=1, reverse_complement=True)
    drawn = windows.draw(FIRST)
    places = {(0, start) for start in [*range(100, 140), *range(10, 13)]} | {
        (1, start) for start in range(10)
    }
    found, counts = np.unique(np.stack([drawn.record, drawn.start]), axis=1, return_counts=True)
    assert set(map(tuple, found.T.tolist())) == places
    assert windows.number_of_starts == len(places)
    # Between -4 and 4 for random draws; a stream that is too even, such as a counter, fails as well.
    assert -3 < chi_square(counts) < 4


def test_strand_is_even_and_independent_of_the_start():
    drawn = RandomWindows(SOME, 20, seed=2, reverse_complement=True).draw(FIRST)
    cells = np.bincount(2 * (drawn.start % 10) + drawn.strand, minlength=20)
    per_start = cells.reshape(10, 2).sum(axis=1, keepdims=True)
    expected = per_start / 2
    statistic = ((cells.reshape(10, 2) - expected) ** 2 / expected).sum()
    assert 1.5 < statistic < 30  # chi-square with 10 degrees of freedom


def test_neighbouring_samples_steps_and_seeds_are_independent():
    interval = [Interval("r", 0, 7 + 16)]
    draw = RandomWindows(interval, 7, seed=3, reverse_complement=False).draw
    other = RandomWindows(interval, 7, seed=4, reverse_complement=False).draw
    start = draw(FIRST).start
    for second in (draw(FIRST + 1).start, draw(FIRST + 64).start, other(FIRST).start):
        assert -3 < chi_square(np.bincount(16 * start + second, minlength=256)) < 4


def test_the_forward_strand_alone_has_the_same_starts():
    both = RandomWindows(SOME, 20, seed=5, reverse_complement=True).draw(FIRST[:100])
    forward = RandomWindows(SOME, 20, seed=5, reverse_complement=False).draw(FIRST[:100])
    assert not forward.strand.any()
    assert (both.start == forward.start).all()
    assert (both.record == forward.record).all()


def test_the_stream_never_changes():
    windows = RandomWindows(SOME, 20, seed=0, reverse_complement=True)
    assert windows.draw(np.arange(6)).regions(windows.names) == GOLDEN_SMALL
    large = RandomWindows([Interval("chr", 5, 300_000_000_000)], 1024, seed=-1, reverse_complement=True)
    assert large.draw(np.array([0, 1, 2**40])).regions(large.names) == GOLDEN_LARGE


def test_a_seed_counts_by_its_low_64_bits():
    draws = [
        RandomWindows(SOME, 20, seed, reverse_complement=True).draw(FIRST[:50]).start.tolist()
        for seed in (7, 7 + 2**64, -7)
    ]
    assert draws[0] == draws[1] != draws[2]


def test_starts_beyond_32_bits_are_within_reach():
    length = 10**12
    start = RandomWindows([Interval("r", 0, length)], 100, 0, False).draw(FIRST).start
    assert -3 < chi_square(np.bincount(start * 16 // length, minlength=16)) < 4


def test_draw_does_not_depend_on_its_batch():
    draw = RandomWindows(SOME, 20, seed=9, reverse_complement=True).draw
    together = draw(np.array([5, 70, 1_000_000]))
    for row, index in enumerate((5, 70, 1_000_000)):
        assert [column[0] for column in draw(np.array([index]))] == [column[row] for column in together]


@given(
    intervals=st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(0, 1000), st.integers(0, 60)), min_size=1
    ),
    length=st.integers(1, 30),
    seed=st.integers(-(2**70), 2**70),
)
def test_windows_stay_within_one_interval(intervals, length, seed):
    intervals = [Interval(name, start, start + size) for name, start, size in intervals]
    if all(interval.length <= length for interval in intervals):
        with pytest.raises(UserError, match=f"window of {length + 1} bases .*data.max_length"):
            RandomWindows(intervals, length, seed, reverse_complement=True)
        return
    windows = RandomWindows(intervals, length, seed, reverse_complement=True)
    assert windows.names == record_names(intervals)
    drawn = windows.draw(FIRST[:40])
    for record, start, size in zip(drawn.record, drawn.start, drawn.length, strict=True):
        assert size == length + 1
        assert any(
            interval.name == windows.names[record]
            and interval.start <= start
            and start + size <= interval.end
            for interval in intervals
        )


@given(
    intervals=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 40)), max_size=4),
    length=st.integers(1, 12),
)
def test_tiles_make_every_base_but_first_target_once(intervals, length):
    intervals = [Interval(f"r{number}", *start_size) for number, start_size in enumerate(intervals)]
    intervals = [interval._replace(end=interval.start + interval.end) for interval in intervals]
    tiles = tiled_windows(intervals, length)
    names = record_names(intervals)
    targets = [
        (names[record], base)
        for record, start, size in zip(*(column.tolist() for column in tiles[:3]), strict=True)
        for base in range(start + 1, start + size)
    ]
    assert targets == [
        (interval.name, base) for interval in intervals for base in range(interval.start + 1, interval.end)
    ]
    assert ((tiles.length >= 2) & (tiles.length <= length + 1)).all()
    assert not tiles.strand.any()


def test_regions_are_zero_based_on_the_forward_strand():
    windows = Windows(
        np.array([1, 0]), np.array([1000, 0]), np.array([1025, 7]), np.array([1, 0], dtype=np.int8)
    )
    assert windows.regions(["chrI", "chrV"]) == ["chrV:1000-2025(-)", "chrI:0-7(+)"]
    assert windows.take(slice(1, 2)).regions(["chrI", "chrV"]) == ["chrI:0-7(+)"]


@given(st.data())
@settings(max_examples=60)
def test_gathered_windows_read_as_biopython_reads_them(genome, data):
    length = data.draw(st.integers(1, 40))
    rows = data.draw(
        st.lists(st.tuples(st.integers(0, 1), st.integers(0, 99), st.integers(1, 41), st.integers(0, 1)))
    )
    names = ("b", "a")
    rows = [
        (record, start, min(size, length + 1, 100 - start), strand) for record, start, size, strand in rows
    ]
    columns = np.array(rows, dtype=np.int64).reshape(-1, 4).T
    windows = Windows(columns[0], columns[1], columns[2], columns[3].astype(np.int8))
    tokens = gather(genome, names, windows, length)
    assert tokens.shape == (len(rows), length + 1)
    for (record, start, size, strand), row in zip(rows, tokens, strict=True):
        text = Seq(genome.alphabet.decode(genome.fetch(names[record], start, start + size)))
        expected = str(text.reverse_complement() if strand else text)
        assert genome.alphabet.decode(row) == expected + "." * (length + 1 - size)
