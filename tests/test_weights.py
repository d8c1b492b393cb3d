"""Published models by name: which files they are, where they are found, and how they are downloaded."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import torch
from omegaconf import OmegaConf

import dnamamba
from dnamamba import UserError, optional, weights
from dnamamba.commands.paths import check_paths
from dnamamba.commands.plan import absent_model

MODELS = Path(__file__).parents[1] / "docs" / "models"
NAME = "yeast-66k"  # small


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder and says nothing."""

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A release of the small model on this machine, which is not in the package any more."""
    pytest.importorskip("pooch")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "assets"
    folder.mkdir()
    published = weights.MODELS[NAME]
    for file in published.files:
        shutil.copyfile(published.folder / file, folder / f"{NAME}.{file}")
    monkeypatch.setitem(weights.MODELS, NAME, published._replace(folder=tmp_path / "none"))
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        monkeypatch.setattr(weights, "RELEASE", f"http://127.0.0.1:{server.server_port}")
        yield folder
        server.shutdown()


def test_name_of_clone_is_model_of_docs() -> None:
    named, path = dnamamba.load("human-1m4-2p10"), dnamamba.load(MODELS / "human_1m4_2p10")
    assert torch.equal(named.backbone.embedding.weight, path.backbone.embedding.weight)


def test_every_card_has_name_and_checksums() -> None:
    for folder in MODELS.iterdir():
        name = folder.name.replace("_", "-")
        assert weights.named(name) == folder
        card = (folder / "README.md").read_text("utf-8")
        assert f'dnamamba.load("{name}")' in card
        assert weights.MODELS[name].files["model.safetensors"] in card


def test_folder_of_that_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(weights.MODELS[NAME].folder, tmp_path / "human-1m4-2p10")
    monkeypatch.chdir(tmp_path)
    assert dnamamba.load("human-1m4-2p10").config.d_model == 64


def test_changed_file_is_not_loaded_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published = weights.MODELS[NAME]
    shutil.copytree(published.folder, tmp_path / "model")
    (tmp_path / "model" / "config.json").write_text("{}")
    monkeypatch.setitem(weights.MODELS, NAME, published._replace(folder=tmp_path / "model"))
    with pytest.raises(UserError, match=rf"config\.json: is not the published file of {NAME} \(its SHA-256"):
        dnamamba.load(NAME)


def test_without_release_name_is_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setitem(weights.MODELS, NAME, weights.MODELS[NAME]._replace(folder=tmp_path / "none"))
    assert weights.RELEASE is None
    with pytest.raises(UserError, match=r"^model: yeast-66k will be a file of a release, .*; clone [^\n]*$"):
        dnamamba.load(NAME)


def test_released_model_is_downloaded_once(release: Path) -> None:
    assert dnamamba.load(NAME).config.d_model == 64
    shutil.rmtree(release)
    folder = weights.named(NAME)
    found = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert found == weights.MODELS[NAME].files["model.safetensors"]


def test_kept_file_that_is_damaged_is_downloaded_again(release: Path) -> None:
    kept = weights.named(NAME) / "config.json"
    whole = kept.read_bytes()
    kept.write_bytes(whole[:-1])
    assert (weights.named(NAME) / "config.json").read_bytes() == whole


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def endless(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def folder_of_files(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "a").write_text("x")


def link(path: Path) -> None:
    path.rename(path.with_name("target"))
    path.symlink_to("target")
    path.with_name("target").write_text("somebody's")


@pytest.mark.parametrize("damage", [pipe, endless, folder_of_files, link])
def test_what_is_in_the_place_of_a_kept_file_is_replaced(
    release: Path, damage: Callable[[Path], None]
) -> None:
    kept = weights.named(NAME) / "model.safetensors"
    whole = kept.read_bytes()
    damage(kept)
    assert (weights.named(NAME) / "model.safetensors").read_bytes() == whole
    assert kept.is_file()
    assert not kept.is_symlink()
    if damage is link:
        assert kept.with_name("target").read_text() == "somebody's"


def test_what_a_killed_download_left_goes_with_the_next(release: Path) -> None:
    folder = weights.cache_folder() / "models" / NAME
    program = (
        "import os, pathlib, sys; from dnamamba.files import replacing\n"
        "with replacing(pathlib.Path(sys.argv[1])) as beside: beside.write_text('half'); os._exit(1)"
    )
    folder.mkdir(parents=True)
    subprocess.run([sys.executable, "-c", program, str(folder / "model.safetensors")], check=False)
    (left,) = folder.iterdir()
    assert left.read_text() == "half"
    assert weights.named(NAME) == folder
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors"}


def test_a_file_in_the_place_of_the_cache_is_named(release: Path) -> None:
    place = weights.cache_folder() / "models"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("somebody's")
    with pytest.raises(
        UserError, match=rf"yeast-66k can't be kept in {place}.* \(.*\); remove what is there"
    ):
        dnamamba.load(NAME)
    assert place.read_text() == "somebody's"


@pytest.mark.parametrize(("damage", "said"), [("other", "its SHA-256 is"), ("absent", "404")])
def test_download_of_other_file_is_refused(release: Path, damage: str, said: str) -> None:
    asset = release / f"{NAME}.model.safetensors"
    asset.unlink() if damage == "absent" else asset.write_bytes(b"other")
    with pytest.raises(UserError, match=rf"^model: yeast-66k can't be downloaded \(.*{said}.*\); try"):
        dnamamba.load(NAME)
    assert not (weights.cache_folder() / "models" / NAME / "model.safetensors").exists()


def test_download_without_pooch_names_the_extra(release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optional, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"^model=yeast-66k needs pooch, .* 'dnamamba\[weights\]'$"):
        dnamamba.load(NAME)


def test_commands_take_name_and_suggest_the_nearest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = OmegaConf.create({"model": "human-1m4-2p17"})
    check_paths(config, "model")
    assert not absent_model(config)
    for name in ("human_1m4_2p17", "docs/models/human_1m4_2p17"):
        with pytest.raises(UserError, match=r"; did you mean human-1m4-2p17\?$"):
            check_paths(OmegaConf.create({"model": name}), "model")
        with pytest.raises(UserError, match=r"; did you mean human-1m4-2p17\?$"):
            dnamamba.load(name)
