"""What a training step takes of a device, estimated from what was measured: docs/kernels.md, "Training step".

Memory and time are linear in bases * blocks * inner channels, which is what the kernels sweep over. The
numbers below were fitted to training_step_h200.csv, longest_step_h200.csv and training_step_h100.csv of
docs/measurements (1.4M and 7M models with 16 states, 2^17 to 2^22 bases at a time, 2026-11-23 and 27); other
sizes are extrapolated from them.
"""

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


@dataclass(frozen=True)
class Device:
    """A GPU, as far as it was measured.

    Args:
        name: as a user writes it.
        memory_gib: of the device.
        seconds: a base, block and inner channel, of a training step (bf16) where few sequences are cut into
            chunks, and where there are enough sequences to fill the device.
        filled_by: sequences * inner channels that fill the device.
        block_seconds: a block, however little it reads.
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
    """Peak memory of a training step of one process.

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
    """Duration of a step of one process: `accumulate` micro-batches of `sequences` of `length` bases."""
    filled = sequences * cost.sweep >= device.filled_by
    work = sequences * length * cost.blocks * cost.sweep
    seconds = work * device.seconds[filled] + cost.blocks * device.block_seconds
    return accumulate * seconds * (device.checkpointing if checkpointing else 1.0)
