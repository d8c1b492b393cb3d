"""Where a command's result goes, checked before any work is done."""

import errno
import os
from pathlib import Path

from dnamamba.claims import claim, release
from dnamamba.errors import UserError
from dnamamba.files import complete


def named(text: str, suffixes: tuple[str, ...]) -> Path:
    """Return the path that `text` names.

    Raises:
        UserError: it ends in none of `suffixes`, or is nothing but one.
    """
    path = Path(os.path.expanduser(text))
    if not path.name.endswith(suffixes) or path.name in suffixes:
        raise UserError(f"out={text}: must be a file's name that ends in {' or '.join(suffixes)}")
    return path


def output_path(text: str, suffixes: tuple[str, ...], overwrite: bool) -> Path:
    """Return the file to write, its folder made and found to take files.

    A link is not followed: the result takes its place.

    Args:
        text: as the user wrote it.
        suffixes: that are allowed.
        overwrite: whether an existing file may be replaced.

    Raises:
        UserError: `named` refuses the name, a folder has it, the file is there and `overwrite` is false,
            another process is writing it, or nothing can be written there.
    """
    path = named(text, suffixes)
    complete(path.parent)
    _need_free(path, text, overwrite)
    _try(path, text)
    claim(path, text)
    try:
        _need_free(path, text, overwrite)  # what another process had almost done is there now
    except UserError:
        release(path)
        raise
    return path


def _need_free(path: Path, text: str, overwrite: bool) -> None:
    # A Zarr store is a folder; no other folder is ever replaced.
    ours = path.is_file() or (path.suffix == ".zarr" and (path / ".zattrs").is_file())
    if path.is_dir() and not ours:
        raise UserError(f"out={text} is there already, and it is a folder: choose another name")
    if path.exists() and not (overwrite and ours):
        raise UserError(f"out={text} is there already; set overwrite=true to replace it")


def output_folder(text: str) -> Path:
    """Return the folder to make, whose own folder is made and found to take files.

    Args:
        text: as the user wrote it.

    Raises:
        UserError: it is there, another process is writing it, or nothing can be written there.
    """
    path = Path(os.path.expanduser(text))
    for _ in range(2):  # before and after the name is ours
        if os.path.lexists(path):
            release(path)
            raise UserError(f"out={text} is there already; choose another folder")
        _try(path, text)
        claim(path, text)
    return path


def _try(path: Path, text: str) -> None:
    """Make the folder, write a hidden file there and remove it.

    Its name is as long as those used while a result is made.

    Raises:
        UserError: it can't be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"out={text}: can't make its folder: {error.strerror}; choose another place"
        ) from error
    trial = path.with_name(f".{'0' * 20}.{path.name}.partial")
    try:
        try:
            trial.write_bytes(b"0")
        finally:
            trial.unlink(missing_ok=True)
    except OSError as error:
        what = "its name is too long" if error.errno == errno.ENAMETOOLONG else error.strerror
        raise UserError(f"out={text}: can't be written ({what}); choose another place") from None
