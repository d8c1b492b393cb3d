"""The device to plan for."""

import shutil
import subprocess

import torch

from dnamamba.errors import UserError
from dnamamba.planning.cost import DEVICES
from dnamamba.training.chunk_size import memory_at_hand

CPU = "CPU"


def device_at_hand(name: str | None, *, on_cpu: bool = False) -> tuple[str, float | None]:
    """Return the device to plan for, and its memory in GiB if it is at hand.

    Args:
        name: of one that was measured; None: the one at hand, or an H200 where there is no GPU.
        on_cpu: whether that is the CPU.

    Raises:
        UserError: the device was not measured.
    """
    if name is not None:
        if name not in DEVICES:
            raise UserError(
                f"plan.device: must be one that was measured, {' or '.join(DEVICES)} (got {name!r})"
            )
        return name, None
    if on_cpu:
        return CPU, memory_at_hand(torch.device("cpu"))
    # torch would begin to use the GPU to say as much.
    if shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
        found = subprocess.run(query, capture_output=True, text=True, check=False)
        if found.returncode == 0 and found.stdout.strip():
            gpu, mebibytes = found.stdout.splitlines()[0].rsplit(",", 1)
            return gpu.strip(), float(mebibytes) / 1024
    return "h200", None
