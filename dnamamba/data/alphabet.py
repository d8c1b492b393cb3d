"""Letters to ids and back, one table of 256 entries each way.

A sequence is one `uint8` a base from the disk to the device: encoding, decoding, complementing and asking
whether a base counts in the loss are each one table look-up, whatever the shape of the array.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dnamamba.errors import UserError

Ids = NDArray[np.uint8]

# The IUPAC nucleotide codes, and below each the code of the complementary set of bases.
IUPAC = "ACGTURYKMBDHVNSW"
_IUPAC_COMPLEMENT = "TGCAAYRMKVHDBNSW"


@dataclass(frozen=True, eq=False)
class Alphabet:
    """A model's vocabulary. Use `get_alphabet`: equal alphabets are one object, after pickling too.

    Attributes:
        name: what a model's config calls it.
        size: number of ids, the vocabulary of the model.
        pad_id: fills what lies beyond the end of a short window; never in the loss.
        n_id: the unknown base.
        to_id: uint8[256], letter (a byte) to id.
        to_letter: uint8[256], id to letter, '.' for padding and '?' for ids that stand for nothing.
        complement: uint8[256], id to id.
        scored: bool[256], the ids that count in the loss.
        mask_id: stands for a base that a masked model must tell; no letter has it.
        unit: what an id stands for: a `base`, as in a FASTA file, a `byte` of text or sound, or a `symbol`.
    """

    name: str
    size: int
    pad_id: int
    n_id: int
    to_id: Ids
    to_letter: Ids
    complement: Ids
    scored: NDArray[np.bool_]
    mask_id: int
    unit: str = "base"

    def __post_init__(self) -> None:
        for table in (self.to_id, self.to_letter, self.complement, self.scored):
            table.flags.writeable = False

    def __reduce__(self) -> tuple[Callable[[str], Alphabet], tuple[str]]:
        return get_alphabet, (self.name,)

    def __repr__(self) -> str:
        return f"Alphabet({self.name!r}, size={self.size})"

    def encode(self, letters: bytes | str | NDArray[np.uint8]) -> Ids:
        """Return ids of letters: uint8, of the shape of the array given (`[length]` for bytes and str).

        Raises:
            UserError: a character of a str that no byte can hold (beyond Latin-1).
        """
        if isinstance(letters, str):
            try:
                letters = letters.encode("latin-1")
            except UnicodeEncodeError as error:
                found = letters[error.start]
                raise UserError(
                    f"{found!r} at position {error.start + 1} of a sequence is not a letter"
                ) from None
        if isinstance(letters, bytes):
            letters = np.frombuffer(letters, dtype=np.uint8)
        assert letters.dtype == np.uint8, f"letters are bytes, not {letters.dtype}"
        return self.to_id[letters]

    def decode(self, ids: NDArray[Any]) -> str:
        """Return the letters of ids of shape `[length]`, one a position, padding ('.') included."""
        return self.to_letter[ids].tobytes().decode("latin-1")

    def reverse_complement(self, ids: Ids, axis: int = -1) -> Ids:
        """Return the other strand, read in its own direction along `axis`; a new array of the same shape."""
        return self.complement[np.flip(ids, axis=axis)]


def need_bases(alphabet: Alphabet) -> None:
    """Check that an alphabet is one of bases.

    Raises:
        UserError: naming what its ids are.
    """
    if alphabet.unit != "base":
        raise UserError(f"model: reads {alphabet.unit}s, not bases; give a model of DNA")


def _dna() -> Alphabet:
    to_id = np.full(256, 4, dtype=np.uint8)
    for letter, base in zip(b"ACGTU", (0, 1, 2, 3, 3), strict=True):
        to_id[[letter, letter | 0x20]] = base
    to_letter = np.full(256, ord("?"), dtype=np.uint8)
    to_letter[:6] = np.frombuffer(b"ACGTN.", dtype=np.uint8)
    complement = np.arange(256, dtype=np.uint8)
    complement[:4] = (3, 2, 1, 0)
    # 8 ids, not 6: the embedding and the head have a width that is a multiple of 8.
    return Alphabet("dna", 8, 5, 4, to_id, to_letter, complement, np.arange(256) < 4, 6)


def _bytes() -> Alphabet:
    identity = np.arange(256, dtype=np.uint8)
    to_letter, complement = identity.copy(), identity.copy()
    to_letter[0] = ord(".")
    for letter, other in zip(IUPAC.encode(), _IUPAC_COMPLEMENT.encode(), strict=True):
        complement[letter], complement[letter | 0x20] = other, other | 0x20
    return Alphabet("bytes", 256, 0, ord("N"), identity, to_letter, complement, identity != 0, 1)


def _plain(name: str, unknown: int) -> Alphabet:
    """Build an alphabet of bytes that are not bases: 0 is padding, and nothing has a complement."""
    ids = np.arange(256, dtype=np.uint8)
    to_letter = ids.copy()
    to_letter[0] = ord(".")
    return Alphabet(name, 256, 0, unknown, ids.copy(), to_letter, ids.copy(), ids != 0, 0, "byte")


def _symbols() -> Alphabet:
    ids = np.arange(16, dtype=np.uint8)
    digits = np.frombuffer(b"0123456789abcdef", dtype=np.uint8)
    to_id, to_letter = np.zeros(256, dtype=np.uint8), np.full(256, ord("?"), dtype=np.uint8)
    to_id[digits], to_letter[ids] = ids, digits
    complement = np.arange(256, dtype=np.uint8)
    return Alphabet("symbols", 16, 0, 0, to_id, to_letter, complement, np.arange(256) < 16, 0, "symbol")


def _specials_first(name: str, size: int, first: int, *, pad: int, mask: int, unknown: int) -> Alphabet:
    """Build another package's tokenizer of single bases: A, C, G, T are `first` and the next three ids."""
    bases = np.arange(first, first + 4)
    to_id = np.full(256, unknown, dtype=np.uint8)
    for letter, base in zip(b"ACGTU", (*bases, bases[3]), strict=True):
        to_id[[letter, letter | 0x20]] = base
    to_letter = np.full(256, ord("?"), dtype=np.uint8)
    to_letter[bases] = np.frombuffer(b"ACGT", dtype=np.uint8)
    to_letter[unknown], to_letter[pad] = ord("N"), ord(".")
    complement = np.arange(256, dtype=np.uint8)
    complement[bases] = bases[::-1]
    scored = np.isin(np.arange(256), bases)
    return Alphabet(name, size, pad, unknown, to_id, to_letter, complement, scored, mask)


_ALPHABETS = {
    alphabet.name: alphabet
    for alphabet in (
        _dna(),
        _bytes(),
        _plain("octets", ord("?")),
        _plain("mulaw", 128),
        _symbols(),
        _specials_first("characters", 12, 7, pad=4, mask=3, unknown=11),
        _specials_first("mlm", 8, 3, pad=0, mask=1, unknown=2),
    )
}
TEXT = "text"
"""What the config of a model of a tokenizer's tokens calls them: no letter of DNA has an id there."""


def get_alphabet(name: str) -> Alphabet:
    """Return the alphabet of that name.

    `dna`: A C G T N = 0..4, padding 5, size 8; case-folded, U reads as T and any other letter as N.
    `bytes`: 256 ids, every byte its own; 0 is padding.
    `characters`: seven special ids, then A C G T N = 7..11, padding 4, size 12 (HyenaDNA and Caduceus).
    `mlm`: padding 0, mask 1, N 2, A C G T = 3..6, size 8 (PlantCaduceus).
    `octets`: 256 ids, the bytes of any file but a FASTA file; 0 is padding.
    `mulaw`: 256 ids, samples of a sound in 255 steps of mu-law, 128 silence; 0 is padding.
    `symbols`: 0..15, written as hexadecimal digits, of the synthetic tasks.

    >>> from dnamamba import get_alphabet
    >>> dna = get_alphabet("dna")
    >>> dna.encode("ACGTN").tolist()
    [0, 1, 2, 3, 4]
    >>> dna.decode(dna.reverse_complement(dna.encode("AACG")))
    'CGTT'

    Raises:
        UserError: there is no alphabet of that name, or it is a text tokenizer's.
    """
    if name == TEXT:
        raise UserError("model: reads a text tokenizer's tokens, not bases; give a model of DNA")
    try:
        return _ALPHABETS[name]
    except KeyError:
        raise UserError(f"unknown alphabet {name!r}; choose one of: {', '.join(_ALPHABETS)}") from None
