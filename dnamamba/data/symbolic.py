"""Symbolic alleles of a VCF row that say by END or SVLEN which bases they change: `<DEL>`, `<DUP>`, `<INV>`.

POS is the base before the event (VCF 4.4, section 1.6.1). A duplication is in tandem.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np

from dnamamba.data.alphabet import Alphabet, Ids
from dnamamba.data.variants import VcfRow

# Subtypes such as <DEL:ME> delete likewise; a duplication elsewhere (<DUP:DISPERSED>) does not say where.
_KIND = re.compile(rb"<(?:(DEL)(?::[^<>]*)?|(DUP)(?::TANDEM(?::[^<>]*)?)?|(INV))>")
_NUMBER = re.compile(rb"-?[0-9]{1,18}")


class Event(NamedTuple):
    """What a symbolic allele does.

    Attributes:
        kind: DEL, DUP or INV.
        start: of the bases that are deleted, doubled or inverted, 0-based; the base before it is at POS.
        end: of them, not included.
    """

    kind: str
    start: int
    end: int

    @property
    def length(self) -> int:
        """Number of bases."""
        return self.end - self.start


def event_of(row: VcfRow, number: int) -> Event | str:
    """Parse the event of a row's alternative allele `number`; a text says why it can't be."""
    found = _KIND.fullmatch(row.columns[4].split(b",")[number])
    if found is None:
        return "an ALT is not spelled out"
    info = dict(part.partition(b"=")[::2] for part in row.columns[7].split(b";"))
    lengths = info.get(b"SVLEN", b"").split(b",")
    length = _whole(lengths[number] if number < len(lengths) else b"")
    end = _whole(info.get(b"END", b""))
    start = row.position
    ends = {start + abs(length) if length else None, end if len(row.alts) == 1 or not length else None} - {
        None
    }
    if not ends:
        return "an ALT has neither END nor SVLEN"
    if len(ends) > 1:
        return f"END is {end:,}, but SVLEN ends at {start + abs(length or 0):,}"
    (stop,) = ends
    assert stop is not None
    if stop <= start:
        return f"END is {stop:,}, not after POS {start:,}"
    kind = next(filter(None, found.groups())).decode()
    return Event(kind, start, stop)


def _whole(text: bytes) -> int | None:
    return int(text) if _NUMBER.fullmatch(text) else None


def haplotype(event: Event, there: Ids, start: int, segment: Ids, alphabet: Alphabet) -> Ids:
    """Return the reference's bases with the event applied.

    Args:
        event: within the bases, but for a duplication, which begins in them.
        there: uint8 [L], the reference from `start` on.
        start: 0-based.
        segment: the event's own bases.
        alphabet: of the ids.

    >>> from dnamamba.data.alphabet import get_alphabet
    >>> dna = get_alphabet("dna")
    >>> spell = lambda kind: haplotype(Event(kind, 3, 5), dna.encode("GACTA"), 2, dna.encode("AC"), dna)
    >>> [dna.decode(spell(kind)) for kind in ("DEL", "DUP", "INV")]
    ['GTA', 'GACACTA', 'GGTTA']
    """
    before = there[: event.start - start]
    after = there[event.end - start :]
    if event.kind == "DEL":
        return np.concatenate([before, after])
    if event.kind == "INV":
        return np.concatenate([before, alphabet.reverse_complement(segment), after])
    return np.concatenate([before, segment, there[event.start - start :]])
