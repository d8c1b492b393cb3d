"""How a scan is cut, changed for a test."""

import dataclasses

import pytest

from dnamamba.kernels.selective_scan import triton_launch, triton_op


def cut_into(monkeypatch: pytest.MonkeyPatch, **change: int) -> None:
    """Override parts of every launch configuration."""
    plan = triton_launch.launch_config

    def changed(*sizes: int) -> triton_launch.LaunchConfig:
        config = dataclasses.replace(plan(*sizes), **change)
        return dataclasses.replace(config, chunks=-(-sizes[1] // config.chunk))

    monkeypatch.setattr(triton_op, "launch_config", changed)
