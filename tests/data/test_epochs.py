import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnamamba.data import hg38
from dnamamba.data.epochs import EpochWindows, HeldOut, samples_of
from dnamamba.data.intervals import Interval
from dnamamba.data.length_schedule import Stage
from dnamamba.errors import UserError

GOLDEN = ["b:32-49(-)", "b:0-17(-)", "a:315-332(+)", "b:15-32(+)", "a:100-117(-)"]
LENGTHS = {"a": 1000, "b": 260}
SEGMENTS = (Interval("a", 100, 164), Interval("a", 300, 364), Interval("b", 0, 64), Interval("b", 196, 260))


def sampler(intervals=SEGMENTS, length=16, seed=0, **options):
    return EpochWindows(
        intervals, length, seed, **{"reverse_complement": False, "lengths": LENGTHS, **options}
    )


def epoch(windows, number=0):
    return windows.draw(number * windows.samples + np.arange(windows.samples))


def spans(windows, drawn):
    rows = zip(*(column.tolist() for column in drawn[:3]), strict=True)
    return [(windows.names[record], start, start + length) for record, start, length in rows]


def targets(windows, drawn):
    """All bases of the windows but the one that is read first."""
    return [
        (name, base)
        for (name, start, end), strand in zip(spans(windows, drawn), drawn.strand.tolist(), strict=True)
        for base in (range(start, end - 1) if strand else range(start + 1, end))
    ]


@pytest.mark.parametrize("power", range(10, 21))
def test_epoch_has_samples_and_bases_of_paper(power):
    """34,021 segments of 2^17 on 24 chromosomes, as in HG38's interval file."""
    length = 2**power
    rows = [(f"chr{number % 24}", 3_000_001 + number // 24 * 2**17) for number in range(34_021)]
    windows = EpochWindows(
        [Interval(name, start, start + 2**17) for name, start in rows],
        length,
        seed=1,
        reverse_complement=True,
        lengths={f"chr{number}": 200_000_000 for number in range(24)},
    )
    assert windows.samples == hg38.samples_per_epoch(length)
    drawn = windows.draw(np.arange(0, windows.samples, 97))
    assert (drawn.length == length + 1).all()
    passes = {18: 4, 19: 8, 20: 16}.get(power, 1)
    assert windows.samples * length == passes * 34_021 * 2**17


@pytest.mark.parametrize("length", [1, 4, 16, 64])
def test_epoch_has_every_base_as_target_once(length):
    windows = sampler(length=length, edge="pad")
    for number in (0, 1, 7):
        read = targets(windows, epoch(windows, number))
        # The first base of a chromosome has none before it to predict it from.
        bases = {(name, base) for name, start, end in SEGMENTS for base in range(start, end)} - {("b", 0)}
        assert sorted(read) == sorted(bases)


def test_either_strand_has_the_same_targets():
    windows = sampler((Interval("a", 100, 164), Interval("a", 300, 364)), reverse_complement=True)
    for number in range(4):
        drawn = epoch(windows, number)
        assert 0 < drawn.strand.sum() < drawn.strand.size
        bases = [("a", base) for base in (*range(100, 164), *range(300, 364))]
        assert sorted(targets(windows, drawn)) == bases


def test_long_sample_begins_or_ends_with_its_interval():
    windows = sampler((Interval("a", 300, 364),), length=100)
    assert windows.samples == 2
    assert sorted(spans(windows, epoch(windows))) == [("a", 263, 364), ("a", 299, 400)]


def test_windows_over_chromosome_ends_are_shifted_or_cut():
    ends = (Interval("b", 0, 64), Interval("b", 196, 260))
    shifted, padded = (sampler(ends, length=100, edge=edge) for edge in ("shift", "pad"))
    assert sorted(spans(shifted, epoch(shifted))) == 2 * [("b", 0, 101)] + 2 * [("b", 159, 260)]
    assert sorted(spans(padded, epoch(padded))) == [
        ("b", 0, 64),
        ("b", 0, 100),
        ("b", 159, 260),
        ("b", 195, 260),
    ]


@pytest.mark.parametrize(
    ("edge", "expected"),
    [("shift", [("b", 0, 260), ("b", 0, 260)]), ("pad", [("b", 0, 200), ("b", 99, 260)])],
)
def test_chromosome_shorter_than_window_is_never_left(edge, expected):
    windows = sampler((Interval("b", 100, 200),), length=260, edge=edge)
    assert sorted(spans(windows, epoch(windows))) == expected


def test_rest_of_interval_is_not_read():
    windows = sampler((Interval("a", 100, 149),), length=16)
    assert sorted(spans(windows, epoch(windows))) == [("a", 99, 116), ("a", 115, 132), ("a", 131, 148)]
    assert [samples_of(49, length) for length in (16, 49, 50)] == [3, 1, 2]


def test_epochs_have_same_windows_in_different_orders():
    windows = sampler()
    orders = [spans(windows, epoch(windows, number)) for number in range(5)]
    assert len({tuple(order) for order in orders}) == 5
    assert {tuple(sorted(order)) for order in orders} == {tuple(sorted(orders[0]))}
    assert spans(windows, epoch(sampler(seed=1))) != orders[0]
    assert spans(windows, epoch(sampler(seed=2**64))) == orders[0]


def test_draw_across_epochs_is_each_sample_by_itself():
    windows = sampler(reverse_complement=True)
    index = np.array([5, 15, 16, 17, 10**9])
    together = windows.draw(index)
    for row, one in enumerate(index):
        assert [column[0] for column in windows.draw(np.array([one]))] == [column[row] for column in together]


@pytest.mark.parametrize("world_size", [2, 4])
def test_ranks_together_read_an_epoch_once(world_size):
    windows = sampler(length=8)
    stage = Stage(0, 8, windows.samples // 2, first_step=0, end_step=2)
    indices = [stage.samples(step, rank, world_size) for step in range(2) for rank in range(world_size)]
    read = [span for index in indices for span in spans(windows, windows.draw(index))]
    assert sorted(read) == sorted(spans(windows, epoch(windows)))


def test_the_strand_is_drawn_anew_every_epoch():
    windows = sampler((Interval("a", 100, 300),), length=1, reverse_complement=True)
    strands = [
        dict(zip(targets(windows, drawn), drawn.strand.tolist(), strict=True))
        for drawn in (epoch(windows, number) for number in range(40))
    ]
    reverse = [sum(strand.values()) / windows.samples for strand in strands]
    assert 0.47 < sum(reverse) / 40 < 0.53
    assert all(0 < sum(strand[base] for strand in strands) < 40 for base in strands[0])
    assert not epoch(sampler()).strand.any()


def test_held_out_targets_are_counted_or_left_out():
    held_out = (
        Interval("a", 364, 384),
        Interval("a", 370, 374),
        Interval("a", 950, 990),
        Interval("c", 0, 9),
    )
    intervals = (Interval("a", 300, 364), Interval("a", 384, 448))
    options = {"length": 80, "not_for_training": held_out}
    windows = sampler(intervals, **options)
    # 300-380 reads 16 of the 20 held-out bases, 368-448 the same number; 284-364 and 384-464 none.
    assert windows.held_out == HeldOut(samples=2, bases=32)
    assert windows.samples == 4
    clean = sampler(intervals, **options, overlap="exclude")
    assert (clean.samples, clean.held_out) == (2, HeldOut(2, 32))
    for number in (0, 1):
        assert sorted(spans(clean, epoch(clean, number))) == [("a", 283, 364), ("a", 383, 464)]
    with pytest.raises(UserError, match=r"every training window of 700 bases .* data.overlap=report"):
        sampler(intervals, **{**options, "length": 700}, overlap="exclude")


HELD_OUT = st.tuples(st.sampled_from("ab"), st.integers(0, 240), st.integers(1, 19)).map(
    lambda drawn: Interval(drawn[0], drawn[1], drawn[1] + drawn[2])
)
CASES = given(
    held_out=st.lists(HELD_OUT, max_size=6),
    length=st.integers(1, 300),
    edge=st.sampled_from(["shift", "pad"]),
)


@CASES
@settings(max_examples=60)
def test_excluded_bases_are_targets_on_neither_strand(held_out, length, edge):
    bases = {(name, base) for name, start, end in held_out for base in range(start, end)}
    try:
        windows = sampler(
            length=length, edge=edge, not_for_training=held_out, overlap="exclude", reverse_complement=True
        )
    except UserError:
        return
    for number in range(5):
        assert not bases & set(targets(windows, epoch(windows, number)))


@CASES
@settings(max_examples=60)
def test_overlap_is_that_of_count_base_by_base(held_out, length, edge):
    bases = {(name, base) for name, start, end in held_out for base in range(start, end)}
    windows = sampler(length=length, edge=edge, not_for_training=held_out)
    drawn = epoch(windows)
    overlaps = [
        sum(base in bases for base in targets(windows, drawn.take(slice(row, row + 1))))
        for row in range(windows.samples)
    ]
    assert windows.held_out == HeldOut(sum(map(bool, overlaps)), sum(overlaps))
    for _, start, end in spans(windows, drawn):
        assert 0 <= start < end <= start + length + 1
    if 0 in overlaps:
        clean = sampler(length=length, edge=edge, not_for_training=held_out, overlap="exclude")
        expected = [
            span for span, overlap in zip(spans(windows, drawn), overlaps, strict=True) if not overlap
        ]
        assert sorted(spans(clean, epoch(clean))) == sorted(expected)


def test_the_stream_never_changes_and_survives_pickling():
    windows = sampler(seed=-1, reverse_complement=True)
    index = np.array([0, 1, 2, 16, 10**12])
    assert windows.draw(index).regions(windows.names) == GOLDEN
    assert pickle.loads(pickle.dumps(windows)).draw(index).regions(windows.names) == GOLDEN


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"edge": "wrap"}, r"data.edge: must be shift or pad \(got 'wrap'\)"),
        ({"overlap": "ignore"}, r"data.overlap: must be report or exclude \(got 'ignore'\)"),
        ({"intervals": ()}, "no training intervals"),
    ],
)
def test_what_cannot_be_is_refused(options, message):
    with pytest.raises(UserError, match=message):
        sampler(**options)
