"""Where a command's result goes, checked before any work is done."""

from pathlib import Path

from dnamamba.errors import UserError


def output_path(text: str, suffixes: tuple[str, ...], overwrite: bool) -> Path:
    """The file to write, its folder made.

    Raises:
        UserError: the name ends in none of `suffixes`, or the file is there and `overwrite` is false.
    """
    path = Path(text).expanduser()
    if not path.name.endswith(suffixes):
        raise UserError(f"out={text} must end in {' or '.join(suffixes)}")
    # A Zarr store is a folder; no other folder is ever replaced.
    ours = path.is_file() or (path.suffix == ".zarr" and (path / ".zattrs").is_file())
    if path.exists() and not (overwrite and ours):
        raise UserError(f"out={text} is there already; set overwrite=true to replace it")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"out={text}: can't make its folder: {error.strerror}") from error
    return path
