"""What a training step takes of a device, estimated from what was measured: docs/kernels.md, "Training step".

Memory and time are linear in bases * blocks * inner channels, which is what the kernels sweep over. The
numbers below were fitted to training_step_h200.csv, longest_step_h200.csv and training_step_h100.csv of
docs/measurements (1.4M and 7M models with 16 states, 2^17 to 2^22 bases at a time, 2026-11-23 and 27); other
sizes are extrapolated from them. Those of steps by chunks were fitted to chunks_h100.csv (1.4M and 40.7M,
chunks of 2^16 to 2^19, 2026-11-28), those of a CPU to fp32 steps of 2, 4 and 12 blocks on one (the same day).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from dnamamba.models import StepCost

GIB = 2**30

# Bytes a base and inner channel: of each block (its input, and a state of the scan every 64 positions; with
# checkpointing the input alone), and of the block being worked on and the head together.
_KEPT_BY_A_BLOCK = {False: 3.0, True: 2.0}
_AT_WORK = {False: 23.7, True: 24.7}
# A step's tokens, and what is made of them to count its targets.
_BYTES_OF_A_BASE = 8
# float32: weight, gradient and two moments.
_BYTES_OF_A_PARAMETER = 16
_FIXED_BYTES = 0.13 * GIB
# On a CPU: fp32, and nothing fused; there is no library of a device to hold.
_KEPT_BY_A_BLOCK_ON_CPU, _AT_WORK_ON_CPU = 27.5, 50.0
# By chunks: a state per channel and block (16 numbers of the scan and 3 of the convolution) at each border;
# of a step's tokens only themselves and flags.
_BYTES_OF_A_STATE = 76
_BYTES_OF_A_BASE_BY_CHUNKS = 3
# Every chunk but the last is read once more, and a host takes so long to launch the kernels of a block.
_READ_TWICE = 1.34
_LAUNCHES_OF_A_BLOCK = 5.6e-3
# And so long where processes share the sequence, as each block waits for what the others send
# (context_h200.csv, two GPUs).
_EXCHANGES_OF_A_BLOCK = 10.6e-3
# As a CUDA graph a chunk does not wait for the host, but each kernel begins and ends: seconds of a block.
_GRAPH_OF_A_BLOCK = 0.46e-3
# A chunk of fewer positions x width than this is done before a host has launched its kernels: half of what
# 2^18 positions of the 1.4M model are, where graphs gained nothing (chunks_h100.csv).
_LAUNCHES_TAKE_THE_TIME = 2**25
# What torch holds for graphs in addition: their memory is apart from what it hands out otherwise.
HELD_BY_GRAPHS = 0.3 * GIB
# `train.chunk_bases=auto`: what of a device's memory is left to others, and the shortest chunk that is tried.
_LEFT_FREE = 0.1
_SHORTEST_CHUNK = 2**12


@dataclass(frozen=True)
class Device:
    """A GPU, as far as it was measured.

    Args:
        name: as a user writes it.
        memory_gib: of the device.
        seconds: a base, block and inner channel, of a training step (bf16) where few sequences are cut into
            chunks, and where there are enough sequences to fill the device.
        filled_by: sequences * inner channels that fill the device.
        block_seconds: seconds per block, however little it reads.
        checkpointing: how many times as long a step is with activation checkpointing.
    """

    name: str
    memory_gib: float
    seconds: tuple[float, float]
    filled_by: int
    block_seconds: float
    checkpointing: float


DEVICES = {
    device.name: device
    for device in (
        Device("h100", 79.2, (7.5e-11, 6.7e-11), 2**17, 0.6e-3, 1.26),
        Device("h200", 139.8, (6.85e-11, 5.9e-11), 2**17, 0.6e-3, 1.26),
    )
}


def step_bytes(cost: StepCost, parameters: int, *, at_a_time: int, a_step: int, checkpointing: bool) -> float:
    """Estimate the peak bytes of a training step of one process.

    Args:
        cost: of the family and shape, see `ModelConfig.step_cost`.
        parameters: how many it has.
        at_a_time: bases of a micro-batch.
        a_step: bases of a step, of this process.
        checkpointing: whether activations are computed again in the backward pass.
    """
    per_base = cost.sweep * (_KEPT_BY_A_BLOCK[checkpointing] * cost.blocks + _AT_WORK[checkpointing])
    fixed = _FIXED_BYTES + _BYTES_OF_A_PARAMETER * parameters
    return fixed + at_a_time * per_base + a_step * _BYTES_OF_A_BASE


def step_seconds(
    cost: StepCost, device: Device, *, sequences: int, length: int, accumulate: int, checkpointing: bool
) -> float:
    """Estimate a process's seconds per step: `accumulate` micro-batches, `sequences` of `length` bases.

    Args:
        cost: of the family and shape.
        device: one of `DEVICES`.
        sequences: per micro-batch.
        length: bases of a sequence.
        accumulate: micro-batches per step.
        checkpointing: whether activations are computed again in the backward pass.
    """
    filled = sequences * cost.sweep >= device.filled_by
    work = sequences * length * cost.blocks * cost.sweep
    seconds = work * device.seconds[filled] + cost.blocks * device.block_seconds
    return accumulate * seconds * (device.checkpointing if checkpointing else 1.0)


def chunked_bytes(
    cost: StepCost,
    parameters: int,
    *,
    sequences: int,
    length: int,
    chunk: int,
    a_step: int,
    on_cpu: bool = False,
) -> float:
    """Estimate the peak bytes of a training step by chunks (`dnamamba.training.chunks`) of one process.

    Args:
        cost: of the family and shape, see `ModelConfig.step_cost`.
        parameters: how many it has.
        sequences: of a micro-batch.
        length: of each, in bases.
        chunk: positions at a time; `length` or more is the whole step.
        a_step: bases of a step, of this process.
        on_cpu: in float32 on a CPU, not under bf16 autocast on a GPU.
    """
    fixed, kept, at_work = _FIXED_BYTES, _KEPT_BY_A_BLOCK[False], _AT_WORK[False]
    if on_cpu:
        fixed, kept, at_work = 0, _KEPT_BY_A_BLOCK_ON_CPU, _AT_WORK_ON_CPU
    positions = sequences * min(chunk, length)
    borders = sequences * (-(-length // chunk) - 1)
    return (
        fixed
        + _BYTES_OF_A_PARAMETER * parameters
        + positions * cost.sweep * (kept * cost.blocks + at_work)
        + borders * cost.sweep * cost.blocks * _BYTES_OF_A_STATE
        + a_step * _BYTES_OF_A_BASE_BY_CHUNKS
    )


def graphs_pay(positions: int, width: int) -> bool:
    """Return whether chunks are faster as CUDA graphs: whether launches, not kernels, take their time.

    Args:
        positions: of a chunk, over all sequences that are read together.
        width: of the model.
    """
    return positions * width < _LAUNCHES_TAKE_THE_TIME


def chunked_seconds(
    cost: StepCost,
    device: Device,
    *,
    sequences: int,
    length: int,
    chunk: int,
    accumulate: int,
    truncated: bool = False,
    graphs: bool = False,
    shared: bool = False,
) -> float:
    """Estimate the seconds of a step by chunks of one process, on a GPU.

    Args:
        cost: of the family and shape.
        device: that it was measured on.
        sequences, accumulate: of a micro-batch, and how many of them.
        length: of a sequence, in bases.
        chunk: positions at a time.
        truncated: with gradients cut at borders: every chunk is read once.
        graphs: whether chunks are CUDA graphs.
        shared: whether other processes read the same sequences; length and chunk are this one's part.
    """
    if chunk >= length:
        return step_seconds(
            cost, device, sequences=sequences, length=length, accumulate=accumulate, checkpointing=False
        )
    filled = sequences * cost.sweep >= device.filled_by
    work = sequences * chunk * cost.blocks * cost.sweep * device.seconds[filled]
    if graphs:
        chunks = length / chunk
        read_twice = (chunks - 1) / chunks * (_READ_TWICE - 1)
        return accumulate * chunks * (work * (1 + read_twice) + cost.blocks * _GRAPH_OF_A_BLOCK)
    reads, launches = (1.0, 2 / 3) if truncated else (_READ_TWICE, 1.0)
    block = _EXCHANGES_OF_A_BLOCK if shared else _LAUNCHES_OF_A_BLOCK
    of_a_chunk = max(work * reads, cost.blocks * block * launches)
    return accumulate * length / chunk * of_a_chunk


def largest_chunk(
    cost: StepCost,
    parameters: int,
    *,
    sequences: int,
    length: int,
    a_step: int,
    memory_gib: float,
    on_cpu: bool = False,
) -> int | None:
    """Return the chunk for `train.chunk_bases=auto`: the largest power of two whose step fits a device.

    Args:
        cost, parameters, sequences, length, a_step, on_cpu: as in `chunked_bytes`.
        memory_gib: of the device.

    Returns:
        The chunk; `length` where the whole step fits; None where nothing does.
    """

    def fits(chunk: int) -> bool:
        needed = chunked_bytes(
            cost, parameters, sequences=sequences, length=length, chunk=chunk, a_step=a_step, on_cpu=on_cpu
        )
        return needed <= (1 - _LEFT_FREE) * memory_gib * GIB

    return next((chunk for chunk in _chunks(length) if fits(chunk)), None)


def _chunks(length: int) -> Iterator[int]:
    """Yield `length`, and the powers of two below it, from the largest."""
    yield length
    chunk = 1 << (length - 1).bit_length() - 1 if length > 1 else 0
    while chunk >= _SHORTEST_CHUNK:
        yield chunk
        chunk //= 2
