"""How a selective scan is cut into programs: a pure function of its sizes, the same on every run."""

from dataclasses import dataclass, replace
from functools import lru_cache

# A saved state stands before every SEGMENT-th position; the backward rebuilds the states in between.
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
# A forward's chunks: how long they may be, what a wave's last and few programs cost beyond their share of it,
# and what a state to carry costs in positions of a wave (docs/kernel-log.md, item 11).
MAX_FORWARD_CHUNK = 1024
PARTIAL_WAVE = 0.17
CARRIED = 0.002


@dataclass(frozen=True)
class LaunchConfig:
    """The cut of one scan.

    Attributes:
        channels: channels of a program's tile.
        tiles: such tiles in E.
        chunk: positions of a program, a multiple of SEGMENT.
        chunks: such chunks in L; one means a single pass, more mean summaries, carry and output.
        groups: groups of tiles in the backward, the first of them a tile larger where they can't be even. A
            program owns one group, adds up its dB and dC in its own rows, and no two programs write to one
            address.
        workers: programs of the Triton gradient; each owns a scratch for one segment.
    """

    channels: int
    tiles: int
    chunk: int
    chunks: int
    groups: int
    workers: int


def launch_config(batch: int, length: int, channels: int, states: int, processors: int = 132) -> LaunchConfig:
    """Cut a scan over [batch, length, channels] with `states` states for a device of `processors`.

    Raises:
        ValueError: `states` is not one of SUPPORTED_STATES.
    """
    if states not in SUPPORTED_STATES:
        raise ValueError(f"backend 'triton' takes N in {SUPPORTED_STATES}, but A has N = {states}")
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

    # What forward and backward hold beside inputs and outputs is under `states` / 4 bytes an element of u,
    # with 256 channels or more and many chunks: a state every SEGMENT positions; dA and three rows a chunk;
    # dB and dC a group (and, in the Triton gradient, its workers' scratch). Within that, more groups are
    # better: their tiles are read at the same time.
    left = states / 4 - 4 * states / SEGMENT - 4 * (states + 3) / chunk
    groups = max(1, min(tiles, int(left * channels / (8 * states))))
    work = batch * chunks * groups
    return LaunchConfig(tile, tiles, chunk, chunks, groups, min(work, processors * RESIDENT_BACKWARD))


@lru_cache(1024)
def forward_config(cut: LaunchConfig, batch: int, length: int, slots: int) -> LaunchConfig:
    """`cut` with chunks for the forward, which need not be those of the backward.

    Programs run in waves of `slots`, as many as the device holds at once. Chunks are as long as makes the
    waves full: programs that are left over run alone, and a multiprocessor with few of them mostly waits.
    """
    if cut.chunks == 1:
        return cut

    def time(chunk: int) -> float:
        programs = batch * cut.tiles * -(-length // chunk)
        waves, rest = divmod(programs / slots, 1)
        return chunk * (waves + (min(1, rest + PARTIAL_WAVE) if rest else 0)) + CARRIED * programs

    longest = min(MAX_FORWARD_CHUNK, length - 1)
    chunk = min(range(SEGMENT, longest + 1, SEGMENT), key=time)
    return replace(cut, chunk=chunk, chunks=-(-length // chunk))
