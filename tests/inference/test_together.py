"""Embeddings and tracks of sequences that several processes (gloo, CPU) read together: those of one."""

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyBigWig
import pytest
import torch
import torch.multiprocessing as mp
from omegaconf import DictConfig

import dnamamba
from dnamamba import UserError
from dnamamba.commands.embed import EmbedConfig, embed_to_file
from dnamamba.commands.tracks import TracksConfig, tracks_to_bigwig
from dnamamba.config import typed
from dnamamba.inference import streaming
from dnamamba.models.mamba.backbone import MambaBackbone
from tests import processes

Configure = Callable[..., DictConfig]
EMBEDDINGS = {
    "mean": ("pooling=mean", "strand=both"),
    "bins": ("pool_every=70", "layer=1"),
    "bases": ("pooling=none",),
}


def one_process(rank: int, size: int, port: int, jobs: list[tuple[Any, Any]], folder: Path) -> None:
    """All jobs in order; what a process is refused with goes to a file."""
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": str(rank)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1"}
    for number, (work, config) in enumerate(jobs):
        os.environ["MASTER_PORT"] = str(port + number)
        if number == len(jobs) - 1 and rank == size - 1:
            MambaBackbone.forward = lambda *_, **__: os._exit(0)  # type: ignore[method-assign]
        try:
            work(config)
        except UserError as error:
            (folder / f"refused_{number}_{rank}").write_text(str(error))


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # of fork, from Python 3.12 on
@pytest.mark.parametrize("size", [2, 4])
def test_several_processes_write_what_one_does(
    size: int,
    inference_config: Configure,
    saved_model: Path,
    genome: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Regions that the processes do not divide, and one that is shorter than they are many.

    And in the end one process dies: the others say so in a line.
    """
    monkeypatch.setattr(streaming, "_PIECE", {"cpu": 64})
    bed = tmp_path / "regions.bed"
    bed.write_text("one\t5\t1106\tlong\t0\t+\ntwo\t0\t333\tback\t0\t-\nthree\t7\t10\tshort\t0\t+\n")
    common = (f"model={saved_model}", f"fasta={genome}", f"bed={bed}", "device=cpu", f"context_size={size}")
    jobs: list[tuple[Any, Any]] = []
    for name, how in EMBEDDINGS.items():
        cfg = inference_config("embed", *common, *how, f"out={tmp_path / name}.npz")
        jobs.append((embed_to_file, typed(cfg, EmbedConfig, "")))
    cfg = inference_config("tracks", *common, "strand=both", "context=11", f"out={tmp_path / 'track.bw'}")
    jobs.append((tracks_to_bigwig, typed(cfg, TracksConfig, "")))
    cfg = inference_config("embed", *common, f"out={tmp_path / 'lost.npz'}")
    jobs.append((embed_to_file, typed(cfg, EmbedConfig, "")))

    model, source = dnamamba.load(saved_model), (genome, bed)
    mean = dnamamba.embed(model, source, strand="both")
    bins = dnamamba.embed(model, source, pool_every=70, layer=1)
    bases = dnamamba.embed(model, source, pooling="none")
    tracks = dnamamba.tracks(model, source, strand="both", context=11)
    mp.start_processes(one_process, (size, free_port(), jobs, tmp_path), nprocs=size, start_method="fork")

    for name, expected in (("mean", mean), ("bins", bins), ("bases", np.concatenate(bases))):
        found = np.load(tmp_path / f"{name}.npz")["embeddings"]
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * np.nanmax(np.abs(expected)))
    with pyBigWig.open(str(tmp_path / "track.bw")) as file:
        for track, (record, start, end) in zip(
            tracks, (("one", 5, 1106), ("two", 0, 333), ("three", 7, 10)), strict=True
        ):
            values = file.values(record, start, end, numpy=True)
            np.testing.assert_allclose(values, track.log_likelihood, rtol=0, atol=2e-6)
    said = {path.name: path.read_text() for path in tmp_path.glob("refused_*")}
    assert set(said) == {f"refused_4_{rank}" for rank in range(size - 1)}
    for line in said.values():
        assert line.startswith("context_size: another process ended, killed or out of memory (got ")
    assert not (tmp_path / "lost.npz").exists()


@pytest.mark.parametrize(
    ("started", "asked", "message"),
    [
        (1, 2, r"context_size: .*started 1 \(got 2\); start them by torchrun --nproc-per-node=2"),
        (3, 1, r"context_size: .*started 3 \(got 1\)"),
        (1, 0, r"context_size: at least one process reads \(got 0\)"),
    ],
)
def test_other_numbers_of_processes_are_refused(
    started: int,
    asked: int,
    message: str,
    inference_config: Configure,
    saved_model: Path,
    genome: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WORLD_SIZE", str(started))
    for name, work, settings in (
        ("embed", embed_to_file, EmbedConfig),
        ("tracks", tracks_to_bigwig, TracksConfig),
    ):
        out = tmp_path / f"x.{'npz' if name == 'embed' else 'bw'}"
        cfg = inference_config(
            name, f"model={saved_model}", f"fasta={genome}", f"out={out}", f"context_size={asked}"
        )
        with pytest.raises(UserError, match=message):
            work(typed(cfg, settings, ""))  # type: ignore[operator]
        assert not out.exists()


def test_score_of_several_processes_is_refused_with_its_reason(tmp_path: Path) -> None:
    done = processes.run("dnamamba.score", folder=tmp_path, environment={"WORLD_SIZE": "2"})
    assert done.returncode == 1
    assert done.stderr == (
        "dnamamba: error: score: reads many short sequences, each faster by one process than by several "
        "together (got 2 processes); start one for each part of the input\n"
    )
