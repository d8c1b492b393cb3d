"""One number in two units: windows, or bases."""

from dnamamba.errors import UserError


def windows_of(
    windows: int | None, bases: int | None, length: int, default: int, keys: tuple[str, str]
) -> int:
    """Return windows of `length` bases; given in bases, as many as fit and at least one.

    Args:
        windows, bases: as set; at most one of the two.
        length: bases per window.
        default: windows, with neither set.
        keys: names of the two settings.

    Raises:
        UserError: both are set and differ, or the number is below 1.

    >>> windows_of(None, 10_000, 4_096, 16, ("data.batch_size", "data.bases_per_batch"))
    2
    """
    for key, value in zip(keys, (windows, bases), strict=True):
        if value is not None and value < 1:
            raise UserError(f"{key}: must be at least 1 (got {value})")
    if bases is None:
        return default if windows is None else windows
    fitting = max(1, bases // length)
    if windows not in (None, fitting):
        raise UserError(
            f"{keys[0]}={windows} and {keys[1]}={bases} ({fitting} windows of {length} bases) differ; "
            "set one of the two, the other null"
        )
    return fitting
