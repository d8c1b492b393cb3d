"""Sound as bytes: mu-law in 255 steps, and the files that hold it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dnamamba.data.alphabet import Ids
from dnamamba.errors import UserError
from dnamamba.optional import need

SUFFIXES = (".wav", ".flac", ".ogg", ".aiff", ".aif")
SILENCE = 128
_MU, _STEPS = 255, 127
_FRAMES = 1 << 20  # read at a time
_UNKNOWN_FROM = 0x7FFF0000  # bytes that who writes a WAV into a pipe puts for a size that it can't know


def mulaw(sound: NDArray[np.floating]) -> Ids:
    """Return the ids of samples: 128 + 127 sgn(x) ln(1 + 255 |x|) / ln 256, rounded; 0 is left for padding.

    >>> import numpy as np
    >>> mulaw(np.array([-1.0, -0.01, 0.0, 0.01, 1.0])).tolist()
    [1, 99, 128, 157, 255]

    Args:
        sound: samples in [-1, 1], of any shape; beyond it they are clipped.

    Source: ITU-T G.711, in its continuous form.
    """
    found = np.clip(np.asarray(sound, dtype=np.float64), -1, 1)
    steps = np.sign(found) * np.log1p(_MU * np.abs(found)) / np.log1p(_MU) * _STEPS
    return (SILENCE + np.rint(steps)).astype(np.uint8)


def from_mulaw(ids: Ids) -> NDArray[np.float32]:
    """Return the samples in [-1, 1] of ids of any shape; padding is silent."""
    steps = np.where(ids == 0, 0.0, ids.astype(np.float64) - SILENCE) / _STEPS
    return (np.sign(steps) * np.expm1(np.abs(steps) * np.log1p(_MU)) / _MU).astype(np.float32)


def read_sound(path: Path, rate: int) -> Ids:
    """Read a sound file, its channels averaged, as ids [samples].

    Args:
        path: WAV, or another format of libsndfile.
        rate: samples per second that it must have.

    Raises:
        UserError: soundfile is not installed, the file is not sound, is damaged, or has another rate.
    """
    need("soundfile", "audio", f"{path}: sound")
    import soundfile

    _check_not_cut(path)
    try:
        with soundfile.SoundFile(path) as file:
            if file.samplerate != rate:
                raise UserError(
                    f"{path}: expected {rate:,} samples per second (got {file.samplerate:,}); resample "
                    "it, or set sample_rate"
                )
            return np.concatenate([np.empty(0, dtype=np.uint8), *_blocks(file)])
    except soundfile.LibsndfileError as error:
        reason = " ".join(error.error_string.split()).rstrip(".")
        raise UserError(f"{path}: can't be read as sound ({reason}); convert it to WAV") from None


def _check_not_cut(path: Path) -> None:
    """Refuse a WAV with fewer bytes of sound than its header says, of which libsndfile reads what is there.

    Raises:
        UserError: naming the file.
    """
    try:
        with path.open("rb") as file:
            size, head = path.stat().st_size, file.read(12)
            if head[:4] != b"RIFF" or head[8:] != b"WAVE":
                return
            while len(chunk := file.read(8)) == 8:
                said = int.from_bytes(chunk[4:], "little")
                if chunk[:4] == b"data":
                    if size - file.tell() < said < _UNKNOWN_FROM:
                        raise UserError(
                            f"{path}: is cut: its header says {said:,} bytes of sound (got "
                            f"{size - file.tell():,}); use another copy"
                        )
                    return
                file.seek(said + said % 2, 1)
    except OSError:
        return  # said by who reads it


def _blocks(file: object) -> Iterator[Ids]:
    for block in file.blocks(_FRAMES, dtype="float32", always_2d=True):  # type: ignore[attr-defined]
        if not np.isfinite(block).all():
            raise UserError(f"{file.name}: has samples that are not numbers; convert it anew")  # type: ignore[attr-defined]
        yield mulaw(block.mean(axis=1))


def write_sound(path: Path, ids: Ids, rate: int) -> None:
    """Write a WAV file of 16 bits and one channel.

    Args:
        path: of the file.
        ids: of mu-law, [samples].
        rate: samples per second.

    Raises:
        UserError: soundfile is not installed.
    """
    need("soundfile", "audio", f"{path}: sound")
    import soundfile

    soundfile.write(path, from_mulaw(ids), rate, subtype="PCM_16", format="WAV")
