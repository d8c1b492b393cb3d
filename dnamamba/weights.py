"""Trained models by name: in the package, in a clone's docs/models, or as files of a release; never code."""

import shutil
import sys
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

from dnamamba.data.cache import cache_folder
from dnamamba.data.embedded import YEAST_MODEL
from dnamamba.errors import UserError
from dnamamba.files import replacing, sha256_of
from dnamamba.optional import need

RELEASE: str | None = None
"""The address below which a release has the files, as `RELEASE/NAME.config.json`; None until there is one."""


class Weights(NamedTuple):
    """The two files of a model.

    Attributes:
        folder: in a checkout of the repository.
        files: SHA-256 of each, by its name.
    """

    folder: Path
    files: dict[str, str]


def _weights(folder: Path, config: str, weights: str) -> Weights:
    return Weights(folder, {"config.json": config, "model.safetensors": weights})


_CARDS = Path(__file__).parents[1] / "docs" / "models"
MODELS: dict[str, Weights] = {
    "yeast-66k": _weights(
        YEAST_MODEL,
        "be6cfa6e0155b797ed6e9bbf335ae4c705d95f27a8ce8c1f5ee512514a2edf91",
        "23aba284d79809c52fe9469742b3a37e05c80d8950600ba74cba28cf31af48ba",
    ),
    "human-1m4-2p10": _weights(
        _CARDS / "human_1m4_2p10",
        "b051a741c98659967f56792e6ec0bf53eb51134243040ba730c3b4b3b3706ef3",
        "e3e922370228a3e16da31f1a95c8a2dd3b336daae91f0b953a5924828cfcee65",
    ),
    "human-1m4-2p14": _weights(
        _CARDS / "human_1m4_2p14",
        "b051a741c98659967f56792e6ec0bf53eb51134243040ba730c3b4b3b3706ef3",
        "2f620c2f8e693102056e6be4aee292e5426dacbd433d8bf13be358ec5f341803",
    ),
    "human-1m4-2p17": _weights(
        _CARDS / "human_1m4_2p17",
        "b051a741c98659967f56792e6ec0bf53eb51134243040ba730c3b4b3b3706ef3",
        "2366b7dfff089f6235e0dd6623837abf0a1bacea325920c379d9e76c27c3f7e8",
    ),
}
"""Models with a card in docs/models, and the small one that comes with the package."""


def is_released(name: str) -> bool:
    """Return whether a text is the name of a model of `MODELS`."""
    return name in MODELS


def nearest(name: str) -> str:
    """Return the name that was probably meant, as the end of a message; empty if there is none."""
    close = get_close_matches(Path(name).name.replace("_", "-"), MODELS, n=1, cutoff=0.75)
    return f"; did you mean {close[0]}?" if close else ""


def named(name: str) -> Path:
    """Return the folder of a model by its name; downloaded once, it is found offline.

    Raises:
        UserError: it is not here and can't be had, or a file is not the one that was published.
    """
    weights = MODELS[name]
    whole = all(
        (weights.folder / file).is_file() for file in weights.files
    )  # a source archive has the cards alone
    folder = weights.folder if whole else _downloaded(name, weights)
    for file in _changed(folder, weights):
        raise UserError(
            f"{folder / file}: is not the published file of {name} (its SHA-256 is not "
            f"{weights.files[file]}); restore it, or load the changed model by its path: model={folder}"
        )
    return folder


def _changed(folder: Path, weights: Weights) -> list[str]:
    """Return the names of the files that are not as they were published."""
    return [file for file, expected in weights.files.items() if _digest(folder / file) != expected]


def _downloaded(name: str, weights: Weights) -> Path:
    folder = cache_folder() / "models" / name
    wanted = {file: sha for file, sha in weights.files.items() if not _is_published(folder / file, sha)}
    if not wanted:
        return folder
    if RELEASE is None:
        raise UserError(
            f"model: {name} will be a file of a release, and there is none yet; clone the repository, whose "
            "docs/models has it, and name that folder"
        )
    need("pooch", "weights", f"model={name}")
    for file, expected in wanted.items():
        address = f"{RELEASE}/{name}.{file}"
        print(f"downloading {address}, once: kept in {folder}", file=sys.stderr)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _download(address, folder / file, expected)
        except Exception as error:  # no network, another file, no space: each has types of its own
            place = error.filename if isinstance(error, OSError) else None
            if place is not None:  # of this machine, not of the network
                raise UserError(
                    f"model: {name} can't be kept in {place} ({error.strerror}); remove what is there, make "  # type: ignore[attr-defined]
                    "room, or set XDG_CACHE_HOME to another folder"
                ) from error
            reason = " ".join(str(error).split()) or type(error).__name__
            raise UserError(f"model: {name} can't be downloaded ({reason[:300]}); try again") from error
    return folder


def _download(address: str, path: Path, expected: str) -> None:
    """Replace a file, or whatever is in its place, by what is at an address."""
    import pooch

    with replacing(path) as beside:
        pooch.HTTPDownloader()(address, str(beside), None)
        if (found := sha256_of(beside)) != expected:
            raise ValueError(f"its SHA-256 is {found}, not {expected}: another file, or a damaged one")
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)


def _is_published(path: Path, expected: str) -> bool:
    """Return whether a file is whole; a pipe, which would be waited for, is none."""
    try:
        return path.is_file() and sha256_of(path) == expected
    except OSError:
        return False


def _digest(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; restore it, or name another model") from None
