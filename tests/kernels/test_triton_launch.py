"""How a scan is cut: a pure function, so its promises can be checked over many sizes at once."""

import itertools

import pytest

from dnamamba.errors import UserError
from dnamamba.kernels.selective_scan.triton_launch import (
    SEGMENT,
    SUPPORTED_STATES,
    forward_config,
    held_states,
    launch_config,
)

SIZES = list(
    itertools.product(
        (1, 3, 64, 1024), (1, 63, 64, 1000, 2**14, 2**20 + 1), (1, 33, 256, 1536), SUPPORTED_STATES
    )
)


def test_every_position_channel_and_group_has_work() -> None:
    for batch, length, channels, states in SIZES:
        cut = launch_config(batch, length, channels, states)
        assert cut.chunk % SEGMENT == 0
        assert (cut.chunks - 1) * cut.chunk < length <= cut.chunks * cut.chunk
        assert (cut.tiles - 1) * cut.channels < channels <= cut.tiles * cut.channels
        assert 1 <= cut.workers <= batch * cut.chunks * cut.groups


def test_long_then_short_chunks_cover_same_positions() -> None:
    for batch, length, channels, states in SIZES:
        whole = launch_config(batch, length, channels, states)
        cut = forward_config(whole, batch, length)
        if whole.chunks == 1:
            assert cut == whole
            continue
        assert 0 < cut.long <= cut.chunks
        covered = cut.long * cut.chunk + (cut.chunks - cut.long) * SEGMENT
        assert covered - SEGMENT < length <= covered
        assert (cut.chunks - cut.long) * SEGMENT < length / 8 + cut.chunk or cut == whole
        if cut.chunk == SEGMENT:
            assert cut == whole
        elif batch * cut.tiles <= 132:
            assert cut.chunks - cut.long >= min(32, length // 8 // SEGMENT)


@pytest.mark.parametrize(
    ("batch", "channels", "length", "single"),
    [
        (1, 256, 2**20, False),
        (16, 256, 2**16, False),
        (1024, 256, 2**10, True),
        (1, 1024, 2**14, False),
        (1, 8, 64, True),
        (2, 2**16, 2**14, True),
        (2, 2**16, 2**15, False),
    ],
)
def test_one_pass_where_batch_and_channels_fill_device(
    batch: int, channels: int, length: int, single: bool
) -> None:
    assert (launch_config(batch, length, channels, 16).chunks == 1) is single


@pytest.mark.parametrize("batch", [1, 8, 1024])
@pytest.mark.parametrize("length", [2**10, 2**14, 2**17, 2**20])
@pytest.mark.parametrize("channels", [256, 1024, 1536])
def test_half_precision_takes_under_four_bytes_per_element(batch: int, length: int, channels: int) -> None:
    states = 16
    cut = launch_config(batch, length, channels, states)
    saved = length // SEGMENT * states * channels * batch
    per_chunk = batch * cut.chunks * channels * (states + 3)
    sums = 2 * cut.groups * batch * length * states
    held = 4 * (saved + per_chunk + sums)
    # A scan that cannot fill a device is cut for speed.
    assert held < 4 * batch * length * channels or held < 2**26


def test_scan_that_cannot_fill_device_has_a_program_per_tile() -> None:
    assert launch_config(8, 256, 128, 16).workers == 8 * 4 * 4
    assert launch_config(64, 256, 128, 16).workers == 64 * 4 * 4
    assert launch_config(128, 256, 128, 16).groups == 1


def test_states_without_a_kernel_are_named() -> None:
    assert [held_states(states) for states in (1, 4, 5, 12, 17, 32)] == [4, 4, 8, 16, 32, 32]
    with pytest.raises(UserError, match=r"holds at most 32 states a channel \(A has N = 33\)"):
        held_states(33)
