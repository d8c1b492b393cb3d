"""How a scan is cut, changed for a test."""

import dataclasses

import pytest

from dnamamba.kernels.selective_scan import triton_launch, triton_op


def cut_into(monkeypatch: pytest.MonkeyPatch, *, short: int = 0, **change: int) -> None:
    """Override parts of every launch configuration; a forward ends with at least `short` short chunks.

    Without any, it has the chunks of the backward.
    """
    plan = triton_launch.launch_config

    def changed(*sizes: int) -> triton_launch.LaunchConfig:
        config = dataclasses.replace(plan(*sizes), **change)
        chunks = -(-sizes[1] // config.chunk)
        return dataclasses.replace(config, chunks=chunks, long=chunks)

    monkeypatch.setattr(triton_op, "launch_config", changed)

    def forward(
        cut: triton_launch.LaunchConfig, batch: int, length: int, _: int
    ) -> triton_launch.LaunchConfig:
        return triton_launch.with_short_chunks(cut, length, short) if short else cut

    monkeypatch.setattr(triton_op, "forward_config", forward)
