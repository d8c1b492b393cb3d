"""The cut of the chunked scan: a pure function of the sizes, whose pieces cover everything once."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from dnamamba.kernels.selective_scan.chunked_forward import cut
from dnamamba.kernels.selective_scan.chunked_plan import (
    FILL_CHUNK,
    FILL_STEP,
    SHORTEST_CHUNK,
    Plan,
    pieces,
    plan,
)

sizes = st.tuples(
    st.integers(1, 300), st.integers(1, 1 << 21), st.integers(1, 3000), st.sampled_from([4, 8, 16, 32])
)


@given(sizes)
def test_plan_is_within_its_limits(size: tuple[int, int, int, int]) -> None:
    batch, length, channels, states = size
    sequences, segments, chunk = plan(*size)
    step = sequences * segments * channels * states
    assert 1 <= sequences <= batch
    assert 1 <= segments <= length
    assert sequences == 1 or segments == 1
    assert step <= max(FILL_STEP, channels * states)
    assert 1 <= chunk <= length
    assert step * chunk <= max(FILL_CHUNK, step * SHORTEST_CHUNK)


def test_plan_of_known_sizes() -> None:
    assert plan(8, 1024, 256, 16) == Plan(sequences=8, segments=1, chunk=32)
    assert plan(33, 512, 256, 16) == Plan(sequences=11, segments=1, chunk=23)
    assert plan(1, 1 << 16, 128, 16) == Plan(sequences=1, segments=32, chunk=16)
    assert plan(1, 1, 128, 16) == Plan(sequences=1, segments=1, chunk=1)


plans = st.tuples(st.integers(1, 9), st.integers(1, 9)).filter(lambda s: 1 in s).map(lambda s: Plan(*s, 4))


@given(plans, st.integers(1, 7), st.integers(9, 50))
def test_pieces_cover_every_position_once_and_in_order(cut_: Plan, batch: int, length: int) -> None:
    visits = torch.zeros(batch, length, 1)
    end = torch.zeros(batch, dtype=torch.int64)
    for piece in pieces(cut_, batch, length):
        rows = cut(visits, piece)
        assert rows.shape[0] == (piece.sequences.stop - piece.sequences.start) * piece.segments
        rows += 1
        assert torch.all(end[piece.sequences] == piece.steps.start)
        end[piece.sequences] = piece.steps.stop
    assert torch.all(visits == 1)
    assert torch.all(end == length)
