"""How a scan is cut, changed for a test."""

import dataclasses

import pytest

from dnamamba.kernels.selective_scan import triton_launch, triton_op


def cut_into(monkeypatch: pytest.MonkeyPatch, forward_chunk: int | None = None, **change: int) -> None:
    """Override parts of every launch configuration; the forward is cut as the backward is, or as it says."""
    plan = triton_launch.launch_config

    def changed(*sizes: int) -> triton_launch.LaunchConfig:
        config = dataclasses.replace(plan(*sizes), **change)
        return dataclasses.replace(config, chunks=-(-sizes[1] // config.chunk))

    monkeypatch.setattr(triton_op, "launch_config", changed)

    def for_the_forward(
        config: triton_launch.LaunchConfig, _: int, length: int, __: int
    ) -> triton_launch.LaunchConfig:
        chunk = forward_chunk or config.chunk
        return dataclasses.replace(config, chunk=chunk, chunks=-(-length // chunk))

    monkeypatch.setattr(triton_op, "forward_config", for_the_forward)
