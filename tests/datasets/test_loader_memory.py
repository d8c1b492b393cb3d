"""Loader processes and a small /dev/shm, as containers have it: refused before the first batch."""

from collections import namedtuple

import pytest
import torch

from dnamamba import UserError
from dnamamba.datasets import base
from dnamamba.datasets.base import DataModule

Usage = namedtuple("Usage", "total used free")
# 12,288 bytes are three pages; 2 batches each for a process.
BATCH = {"tokens": torch.zeros(2, 5000, dtype=torch.uint8), "lengths": torch.zeros(2)}
NEEDED = 2 * 4096 * 4


@pytest.mark.parametrize("workers", [0, 1])
def test_a_loader_needs_room_for_its_batches(workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    module = DataModule.__new__(DataModule)
    module.trainer = None
    free = NEEDED
    monkeypatch.setattr(base.shutil, "disk_usage", lambda path: Usage(0, 0, free))
    assert module.loader([BATCH], workers).num_workers == workers
    free -= 1
    if not workers:
        module.loader([BATCH], workers)
        return
    with pytest.raises(UserError, match=r"^data\.num_workers: 1 .* need 32,768 bytes .* which has 32,767; "):
        module.loader([BATCH], workers)
