"""Variants as people write them, checked against the genome; `effects.py` has what is computed of them."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any, Literal, NamedTuple

import numpy as np

from dnamamba.checkpoint import Model
from dnamamba.data.alphabet import get_alphabet
from dnamamba.data.fasta import Genome
from dnamamba.data.numbers import whole_number
from dnamamba.data.symbolic import Event, haplotype
from dnamamba.errors import UserError
from dnamamba.inference.answers import window_taken
from dnamamba.inference.effects import Effects, Site, Windows, judge, score_sites
from dnamamba.inference.inputs import need_alphabet
from dnamamba.models import SequenceModel

REF_MISMATCH, UNKNOWN_BASE, SYMBOLIC = "ref_mismatch", "unknown_base", "symbolic"
SYMBOLIC_BASES = 10_000  # of a symbolic allele that is spelled out, at most, unless more are asked for
UNKNOWN_RECORD, TOO_LONG, SAME = "unknown_record", "too_long", "same_as_ref"
OTHER_LENGTH = "other_length"


class Unscored(NamedTuple):
    """Why there is no score.

    Attributes:
        reason: `ref_mismatch`, `unknown_base`, `symbolic`, `too_long`, `unknown_record`, `same_as_ref` or
            `other_length`.
        text: the same for a person.
    """

    reason: str
    text: str


def score_variants(
    model: Model,
    genome: Genome,
    variants: Iterable[tuple[str, int, str, str]],
    *,
    window: int | None = None,
    shifts: Sequence[int] = (0,),
    strand: Literal["both", "forward", "reverse"] = "both",
    bases_per_batch: int | None = None,
    label: str | None = None,
    share: int = 0,
) -> Effects:
    """Score variants: log-likelihood ratios (or predictions) and distances, as `effects.py` defines them.

    >>> from pathlib import Path
    >>> from dnamamba import Genome, get_alphabet, load, score_variants
    >>> from dnamamba.data.embedded import YEAST_MODEL
    >>> _ = Path("genome.fa").write_text(">chr1\\n" + "ACGT" * 50 + "\\n")
    >>> genome = Genome("genome.fa", get_alphabet("dna"))
    >>> effects = score_variants(load(YEAST_MODEL), genome, [("chr1", 101, "A", "G")], window=64)
    >>> effects.llr.shape, bool(effects.distance[0] > 0)
    ((1,), True)

    Args:
        model: it runs where its parameters lie, in their precision unless under autocast. bf16 is not
            recommended: its rounding at thousands of bases adds up to what a weak variant does.
        genome: the reference, in the model's alphabet.
        variants: record, position of REF's first base (from 1), REF and one ALT, as in a VCF; neighbours of
            one site share the work of the flank before it.
        window: bases of the window of a single-base variant; None: 8,192, or of a fine-tuned model the
            length of its longest training sequence.
        shifts: by how many bases later in its window the variant lies than in the middle; averaged.
        strand: which strands are averaged.
        bases_per_batch: bases read at once; None is 2^20 on a GPU and 2^14 elsewhere.
        label: of a fine-tuned model, whose answer is compared; None: the only one, or the second of two.
        share: bases of a cell whose variants share the flank before them; see `effects.Windows`.

    Returns:
        float64 [variants], twice.

    Raises:
        UserError: an unknown record, a REF that the genome does not have, an allele that is not spelled in A,
            C, G and T, a genome read in another alphabet than the model's, a number out of range, or a
            label that is not the model's.
    """
    judge(model, bases_per_batch, label)
    need_alphabet(genome, get_alphabet(model.config.alphabet))
    windows = Windows(window_taken(model, window)[0], tuple(shifts), strand, share)
    sites = []
    given = (_given_variant(variant, number) for number, variant in enumerate(variants))
    for (name, position, ref), group in groupby(given, key=lambda variant: variant[:3]):
        alts = [variant[3] for variant in group]
        found = check_ref(genome, name, position, ref) or check_alts(alts)
        if found:
            raise UserError(f"variant {name}:{position} {ref}>{','.join(alts)}: {found.text}")
        sites.append(site_of(genome, name, position, ref, alts))
    effects = [*score_sites(model, genome, sites, windows, bases_per_batch, label)]
    llr, distance = np.concatenate([np.empty((2, 0)), *effects], axis=1)
    return Effects(llr, distance)


def _given_variant(variant: Sequence[Any], number: int) -> tuple[str, int, str, str]:
    try:
        name, position, ref, alt = variant
        return str(name), whole_number(position), str(ref), str(alt)
    except (TypeError, ValueError):
        shown = " ".join(repr(variant).split())[:80]
        raise UserError(
            f"variant {number}: must be a record, a position, REF and ALT, such as ('chr1', 10, 'A', 'G') "
            f"(got {shown})"
        ) from None


def site_of(genome: Genome, name: str, position: int, ref: str, alts: Iterable[str]) -> Site:
    """Return the site of a variant that was checked; the reference allele is the genome's own, case included.

    Where the alphabet keeps case, the other alleles have that of REF's first base: a change of case is none.

    Args:
        genome: the reference.
        name: of the record.
        position: of REF's first base, from 1.
        ref: its letters.
        alts: letters of each alternative allele.
    """
    start = position - 1
    there = genome.fetch(name, start, start + len(ref))
    in_case = str.lower if genome.alphabet.decode(there[:1]).islower() else str.upper
    return Site(name, start, (there, *(genome.alphabet.encode(in_case(alt)) for alt in alts)))


def spelled_site(genome: Genome, name: str, position: int, ref: str, alts: Sequence[str | Event]) -> Site:
    """Return the site of a variant with symbolic alleles, all of them spelled out.

    REF is as long as the longest deletion or inversion needs, with the base before it; an allele that was
    spelled out already is followed by the reference's bases up to there.

    Args:
        genome: the reference.
        name: of the record.
        position: of REF's first base, from 1.
        ref: as the row has it.
        alts: letters, or what a symbolic allele does.
    """
    start, end = position - 1, position - 1 + len(ref)
    changed = [alt.end for alt in alts if isinstance(alt, Event) and alt.kind != "DUP"]
    there = genome.fetch(name, start, max([end, *changed]))
    (_, *spelled) = site_of(
        genome, name, position, ref, [alt for alt in alts if isinstance(alt, str)]
    ).alleles
    given, alleles = iter(spelled), []
    for alt in alts:
        if isinstance(alt, Event):
            segment = genome.fetch(name, alt.start, alt.end)
            alleles.append(haplotype(alt, there, start, segment, genome.alphabet))
        else:
            alleles.append(np.concatenate([next(given), there[len(ref) :]]))
    return Site(name, start, (there, *alleles))


def spelled_up_to(symbolic: int, model: Model, windows: Windows) -> int:
    """Return the largest size of a symbolic allele: as set, but no more than the model's family reads.

    Args:
        symbolic: the setting, in bases.
        model: whose longest input limits it.
        windows: whose length is part of the input.
    """
    reach = model.backbone.max_length
    return symbolic if reach is None else max(0, min(symbolic, reach - windows.window))


class Readable(NamedTuple):
    """Which windows a model can read.

    Attributes:
        windows: how a variant is looked at.
        only: bases of every window, where the model reads sequences of one length alone.
        most: bases of the longest window; None: any.
    """

    windows: Windows
    only: int | None
    most: int | None

    @classmethod
    def by(cls, model: Model, windows: Windows, longest: int | None) -> "Readable":
        """Return what a model reads; a window that is itself too long is left to the refusal of the run.

        Args:
            model: any.
            windows: how a variant is looked at.
            longest: sequence that it reads, as its `Reader` has it; None: any.
        """
        only = model.decoder.length if isinstance(model, SequenceModel) else None
        return cls(windows, only, None if longest is None or windows.window > longest else longest)

    def check(self, genome: Genome, site: Site) -> Unscored | None:
        """Return why an allele's windows can't be read; None if they can.

        Args:
            genome: the reference.
            site: of the allele alone, and REF.
        """
        if self.only is None and self.most is None:
            return None
        alleles = [len(allele) for allele in site.alleles]
        for left, right in self.windows.flanks(site, genome):
            for length in (left.size + right.size + allele for allele in alleles):
                if self.only is not None and length != self.only:
                    said = f"an allele's window has {length:,} bases, and the model reads {self.only:,} alone"
                    return Unscored(OTHER_LENGTH, said)
                if self.most is not None and length > self.most:
                    said = f"an allele's window has {length:,} bases, and the model reads {self.most:,}"
                    return Unscored(TOO_LONG, said)
        return None


def check_event(genome: Genome, name: str, position: int, event: Event, longest: int) -> Unscored | None:
    """Return why a symbolic allele can't be scored; None if it can.

    Args:
        genome: the reference.
        name: of the record.
        position: of the variant, from 1.
        event: of the allele.
        longest: the largest size that is spelled out, in bases.
    """
    if event.end > genome.lengths[name]:
        said = f"an ALT ends at {event.end:,}, but {name} has {genome.lengths[name]:,} bases"
        return Unscored(REF_MISMATCH, said)
    if event.length > longest:
        return Unscored(TOO_LONG, f"an ALT changes {event.length:,} bases, more than symbolic={longest}")
    if position < 1:
        return Unscored(UNKNOWN_BASE, "POS is the telomere")
    letters = genome.alphabet.decode(genome.fetch(name, position - 1, event.end)).upper()
    if not set(letters) <= set("ACGT"):
        return Unscored(UNKNOWN_BASE, f"the FASTA has other letters than A, C, G and T up to {event.end:,}")
    return None


def check_ref(genome: Genome, name: str, position: int, ref: str) -> Unscored | None:
    """Return why a REF at `position` (from 1) can't be scored; None if it can.

    Positions 0 and N + 1 are the telomeres (VCF 4.3, section 1.6.1): legal, and without a base to compare.

    Args:
        genome: the reference.
        name: of the record.
        position: of REF's first base, from 1.
        ref: its letters.

    Raises:
        UserError: an unknown record.
    """
    genome.load([name])
    start, end = position - 1, position - 1 + len(ref)
    if not 0 <= start < end <= genome.lengths[name]:
        telomere = position in (0, genome.lengths[name] + 1)
        return Unscored(
            UNKNOWN_BASE if telomere else REF_MISMATCH,
            f"REF is at {position:,}, but {name} has bases 1 to {genome.lengths[name]:,}"
            + (" (the telomere)" if telomere else ""),
        )
    there = genome.alphabet.decode(genome.fetch(name, start, end)).upper()
    spelled = ref.upper()
    if any(
        base != other and {base, other} <= set("ACGT") for base, other in zip(there, spelled, strict=True)
    ):
        return Unscored(REF_MISMATCH, f"REF is {_short(ref)}, but the FASTA has {_short(there)}")
    for what, letters in (("the FASTA has", there), ("REF is", spelled)):
        if not set(letters) <= set("ACGT"):
            return Unscored(UNKNOWN_BASE, f"{what} {_short(letters)}")
    return None


def check_alts(alts: Iterable[str | None]) -> Unscored | None:
    """Return why one of the alternative alleles can't be scored; None if all can."""
    for alt in alts:
        if alt is None:
            return Unscored(SYMBOLIC, "an ALT is not spelled out")
        if not alt or not set(alt.upper()) <= set("ACGT"):
            return Unscored(UNKNOWN_BASE, f"ALT {_short(alt)!r} has other letters than A, C, G and T")
    return None


def check_change(ref: str, alt: str) -> Unscored | None:
    """Return why a spelled allele of a file can't be scored, if it can't: its letters, or that it is REF."""
    if alt.upper() == ref.upper():
        return Unscored(SAME, f"ALT is {_short(alt)}, as REF is")
    return check_alts([alt])


def _short(allele: str) -> str:
    return allele if len(allele) <= 20 else f"{allele[:20]}... ({len(allele):,} bases)"
