"""How a selective scan is cut into programs: a pure function of its sizes, the same on every run."""

from dataclasses import dataclass, replace

from dnamamba.errors import UserError

# A state is saved before every SEGMENT-th position; the backward rebuilds the states in between.
SEGMENT = 64

# One warp a program: 512 states of a warp are 16 registers of a thread, and a channel's states stay in at
# most a few neighbouring lanes.
STATES_PER_PROGRAM = 512
SUPPORTED_STATES = (4, 8, 16, 32)

# Programs per multiprocessor from which on L is not cut: fewer hide too little of their waiting, and that
# costs more than the second sweep does.
SINGLE_PASS_PROGRAMS = 24
# Chunks grow while so many programs of the forward are left for every multiprocessor.
CHUNK_PROGRAMS = 32
# Programs of the Triton gradient that a multiprocessor holds at once: 128 registers allow four on each
# scheduler.
RESIDENT_BACKWARD = 16
MAX_CHUNK = 256
# Short chunks, of SEGMENT positions, with which a forward ends: so many programs of them for every
# multiprocessor, in at most this share of the sequence.
SHORT_PROGRAMS = 32
SHORT_SHARE = 1 / 8


@dataclass(frozen=True)
class LaunchConfig:
    """The cut of one scan.

    Attributes:
        channels: channels of a program's tile.
        tiles: such tiles in E.
        chunk: positions of a long chunk, a multiple of SEGMENT.
        chunks: chunks in L; one means a single pass, more mean summaries, carry and output.
        long: how many of them, the first ones, have `chunk` positions; the others have SEGMENT.
        groups: groups of tiles in the backward, the first of them a tile larger where they can't be even. A
            program owns one group, adds up its dB and dC in its own rows, and no two programs write to one
            address.
        workers: programs of the Triton gradient; each owns a scratch for one segment.
    """

    channels: int
    tiles: int
    chunk: int
    chunks: int
    long: int
    groups: int
    workers: int


def held_states(states: int) -> int:
    """Return the states of the kernel that takes `states` of them, 1 to 32: further ones stay zero.

    Raises:
        UserError: no kernel holds so many.
    """
    for held in SUPPORTED_STATES:
        if states <= held:
            return held
    raise UserError(
        f"the GPU's scan holds at most {SUPPORTED_STATES[-1]} states a channel (A has N = {states}); choose "
        "a smaller d_state"
    )


def launch_config(batch: int, length: int, channels: int, states: int, processors: int = 132) -> LaunchConfig:
    """Cut a scan over [batch, length, channels] with `states` states for a device of `processors`.

    Args:
        batch, length, channels: B, L and E.
        states: N, one of SUPPORTED_STATES.
        processors: multiprocessors of the device.
    """
    assert states in SUPPORTED_STATES
    tile = max(32, min(128, STATES_PER_PROGRAM // states))
    tiles = -(-channels // tile)
    rows = batch * tiles
    segments = -(-length // SEGMENT)

    chunk = segments * SEGMENT
    # Within a chunk, kernels count elements of u in 32 bits.
    fills = rows >= processors * SINGLE_PASS_PROGRAMS and length * channels < 2**31
    if not fills and segments > 1:
        chunk = SEGMENT
        # Longer chunks leave fewer states to carry.
        while chunk < min(MAX_CHUNK, length) and rows * length >= 2 * chunk * processors * CHUNK_PROGRAMS:
            chunk *= 2
    chunks = -(-length // chunk)

    # What forward and backward hold besides inputs and outputs is under `states` / 4 bytes per element of u,
    # with 256 channels or more and many chunks: a state every SEGMENT positions; dA and three rows per chunk;
    # dB and dC a group (and, in the Triton gradient, its workers' scratch). Within that, more groups are
    # better: their tiles are read at the same time.
    left = states / 4 - 4 * states / SEGMENT - 4 * (states + 3) / chunk
    groups = max(1, min(tiles, int(left * channels / (8 * states))))
    if batch * chunks * tiles <= processors * RESIDENT_BACKWARD // 2:
        # A program for each tile still leaves room on every multiprocessor, and so short a scan holds little.
        groups = tiles
    work = batch * chunks * groups
    return LaunchConfig(tile, tiles, chunk, chunks, chunks, groups, min(work, processors * RESIDENT_BACKWARD))


def forward_config(cut: LaunchConfig, batch: int, length: int, processors: int = 132) -> LaunchConfig:
    """Return `cut` with short chunks at the end, for the forward.

    A multiprocessor seems to serve some programs first: those of one wave do not end together. With equal
    chunks the last ones run nearly alone, and mostly wait, for as long as a chunk takes.

    Args:
        cut: from `launch_config`.
        batch, length: B and L.
        processors: multiprocessors of the device.
    """
    if cut.chunks == 1 or cut.chunk == SEGMENT:
        return cut
    short = processors * SHORT_PROGRAMS // (batch * cut.tiles)
    return with_short_chunks(cut, length, min(short, int(SHORT_SHARE * length) // SEGMENT))


def with_short_chunks(cut: LaunchConfig, length: int, short: int) -> LaunchConfig:
    """Return `cut` with at least `short` short chunks, which also take the rest of the sequence.

    Args:
        cut: from `launch_config`.
        length: L.
        short: the least number of short chunks.
    """
    long = (length - short * SEGMENT) // cut.chunk
    return replace(cut, long=long, chunks=long - (long * cut.chunk - length) // SEGMENT)
