"""Where a result goes: found out before any work, and a link or a file in its place is refused in time."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from omegaconf import DictConfig

from dnamamba import UserError
from dnamamba.embed import run as embed
from dnamamba.generate import run as generate
from dnamamba.inference import output
from dnamamba.inference.output import output_path
from dnamamba.score import run as score
from dnamamba.tracks import run as tracks


def nothing_may_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a folder of somebody else; root may write everywhere."""

    def refuse(path: Path, data: bytes) -> int:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(output.Path, "write_bytes", refuse)


@pytest.mark.parametrize(
    ("command", "name", "overrides"),
    [
        (generate, "o.fa", ["prompt=ACGT"]),
        (score, "o.tsv", ["region=one:1-4"]),
        (score, "o.vcf", []),
        (embed, "o.npz", []),
        (tracks, "o.bw", []),
    ],
)
def test_unwritable_folder_is_refused_first(
    command: Callable[[DictConfig], None],
    name: str,
    overrides: list[str],
    inference_config: Callable[..., DictConfig],
    genome: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before the model, which is none, is read."""
    (tmp_path / "empty").mkdir()
    nothing_may_be_written(monkeypatch)
    given = [f"out={tmp_path / name}", f"model={tmp_path / 'empty'}", *overrides]
    given += [] if command is generate else [f"fasta={genome}"]
    given += [f"vcf={genome}"] if name == "o.vcf" else []
    config = inference_config(command.__module__.rpartition(".")[2], *given)
    with pytest.raises(UserError, match=rf"^out=.*{name}: can't be written \(Permission denied\)"):
        command(config)


def test_too_long_output_name_is_refused_first(tmp_path: Path) -> None:
    assert output_path(str(tmp_path / f"{'x' * 200}.fa"), (".fa",), False).parent == tmp_path
    with pytest.raises(UserError, match=r"its name is too long"):
        output_path(str(tmp_path / f"{'x' * 240}.fa"), (".fa",), False)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("place", ["a link to nothing", "a link to a file", "a link to a store", "a file"])
def test_zarr_store_takes_place_of_what_is_there(
    place: str,
    inference_config: Callable[..., DictConfig],
    saved_model: Path,
    genome: Path,
    tmp_path: Path,
) -> None:
    import zarr  # takes half a second

    out, other = tmp_path / "o.zarr", tmp_path / "other"
    if place == "a file":
        out.write_text("")
    else:
        out.symlink_to(other)
    if place == "a link to a file":
        other.write_text("kept")
    if place == "a link to a store":
        zarr.create_group(other, zarr_format=2, attributes={"kept": 1})
    given = [f"model={saved_model}", f"fasta={genome}", "device=cpu", f"out={out}", "overwrite=true"]
    embed(inference_config("embed", *given))
    assert np.isfinite(zarr.open_group(out, mode="r")["embeddings"][:]).all()
    assert not out.is_symlink()
    assert [name for name in os.listdir(tmp_path) if name.startswith(".")] == []
    if place == "a link to a file":
        assert other.read_text() == "kept"


def test_language_that_cannot_write_name_loses_nothing(saved_model: Path, tmp_path: Path) -> None:
    """The record, the file and the line that names it, where text is ASCII."""
    (tmp_path / "g.fa").write_text(">é染\nACGTACGT\n", encoding="utf-8")
    plain = {
        key: value for key, value in os.environ.items() if not key.startswith(("LC_", "LANG", "PYTHONUTF8"))
    }
    environment = plain | {
        "LC_ALL": "C",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
        "PYTHONIOENCODING": "ascii",
    }
    arguments = [f"model={saved_model}", "fasta=g.fa", "length=8", "out=o\u00e9.fa", "device=cpu"]
    done = subprocess.run(
        [sys.executable, "-m", "dnamamba.generate", *map(os.fsencode, arguments)],
        cwd=tmp_path, env=environment, capture_output=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    (written,) = (path for path in tmp_path.iterdir() if path.name != "g.fa")
    assert written.read_text(encoding="utf-8").startswith(">generated_1 prompt=é染 copy=1 ")


def test_trial_on_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes) -> int:
        path.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match=r"out=.*x\.fa: can't be written \(No space left on device\)"):
        output_path(str(tmp_path / "x.fa"), (".fa",), overwrite=False)
    assert list(tmp_path.iterdir()) == []
