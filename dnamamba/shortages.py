"""What a machine had too little of, where a library says it in an exception of many kinds."""

import errno
import os
import traceback
from collections.abc import Iterator

from dnamamba.files import FULL


def shortage(error: BaseException) -> str | None:
    """Describe a lack of memory, shared memory or disk in a line; None for any other error.

    >>> shortage(MemoryError("Unable to allocate 32.0 TiB"))
    'too little memory (Unable to allocate 32.0 TiB); use smaller batches, or a machine with more'
    """
    for each in reasons(error):
        text = str(each).partition("\n")[0]
        if _of_shared_memory(each):
            return (
                f"/dev/shm: too little shared memory for data.num_workers ({text}); set data.num_workers=0, "
                "or give a container more, as by `docker run --shm-size=1g`"
            )
        if text.startswith("DataLoader worker (pid"):
            return (
                f"data.num_workers: a process that loads data was ended from outside ({text}), as the system "
                "does where memory is short; set fewer, or use a machine with more memory"
            )
        if isinstance(each, OSError) and each.errno in FULL and each.filename is not None:
            reason = os.strerror(each.errno)
            return f"can't write {each.filename} ({reason}); make room there, or choose another place"
        if type(each).__name__ == "DistNetworkError" and "listen" in text:  # torch's
            return f"MASTER_PORT: can't be listened at ({text}); choose a port that is free"
        if (
            isinstance(each, MemoryError)
            or type(each).__name__ == "OutOfMemoryError"  # torch's, of a GPU
            or "can't allocate memory" in text
            or (isinstance(each, OSError) and each.errno == errno.ENOMEM)
            or "can't start new thread" in text
        ):
            return f"too little memory ({text}); use smaller batches, or a machine with more"
    return None


def _of_shared_memory(error: BaseException) -> bool:
    if "shared memory" in str(error):  # of a worker that the kernel ended
        return True
    if not isinstance(error, OSError) or error.errno != errno.ENOSPC:
        return False
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and "multiprocessing" in frames[-1].filename


def reasons(error: BaseException) -> Iterator[BaseException]:
    """Yield the error, and those on whose account it was raised."""
    seen: set[int] = set()
    now: BaseException | None = error
    while now is not None and id(now) not in seen:
        seen.add(id(now))
        yield now
        now = now.__cause__ or now.__context__
