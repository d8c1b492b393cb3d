"""Evolution of one sequence along one branch: substitutions, indels, insertions of repeats, duplications.

Ids are those of the alphabet `dna`. Sites of N never change. The cost is in the number of changes, not of
sites: candidates are drawn at the rate of the fastest kind of site and thinned to each site's own (Lewis and
Shedler 1979), in steps so short that a site hardly ever changes twice in one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_prep.tree import Duplications, Indels, Substitutions, Tree
from dnamamba.data.alphabet import Ids, get_alphabet

STEP = 1.0  # million years
_A, _C, _G, _T, _N = range(5)
# New copies of transposons lie between two copies of a few bases of the target.
_TARGET_SITE = 15
_COMPLEMENT = get_alphabet("dna").complement


@dataclass(frozen=True)
class Rates:
    """Absolute rates a site and million years, of the two kinds of change at the two kinds of site.

    Attributes:
        transition, transversion: float64 [2], at other sites and at those of CpG.
    """

    transition: NDArray[np.float64]
    transversion: NDArray[np.float64]

    @classmethod
    def scaled(cls, relative: Substitutions, cpg_share: float) -> Rates:
        """Return rates with the mean `relative.per_site` where that share of the sites is in a CpG."""
        transition = np.array([relative.transition, relative.cpg_transition])
        transversion = np.array([relative.transversion, relative.cpg_transversion])
        mean = np.array([1 - cpg_share, cpg_share]) @ (transition + transversion)
        scale = relative.per_site / mean if mean else 0.0
        return cls(scale * transition, scale * transversion)


def in_cpg(ids: Ids, place: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return whether sites are a C before a G or a G after a C."""
    before = np.where(place > 0, ids[place - 1], _N)
    after = np.where(place + 1 < ids.size, ids[np.minimum(place + 1, ids.size - 1)], _N)
    here = ids[place]
    return ((here == _C) & (after == _G)) | ((here == _G) & (before == _C))


def cpg_sites(ids: Ids) -> int:
    """Return how many sites of a sequence are in a CpG."""
    return 2 * int(np.count_nonzero((ids[:-1] == _C) & (ids[1:] == _G)))


class Edit(NamedTuple):
    """At `place`, `deleted` bases give way to `inserted`."""

    place: int
    deleted: int
    inserted: Ids
    kind: str


def evolve(
    ids: Ids,
    million_years: float,
    tree: Tree,
    rates: Rates,
    families: Mapping[str, Ids],
    rng: np.random.Generator,
) -> tuple[Ids, Counter[str]]:
    """Return the sequence at the end of a branch, and how many changes of each kind were made.

    Args:
        ids: uint8 [length], at the beginning of the branch; not written to.
        million_years: length of the branch.
        tree: rates of everything but substitutions.
        rates: of substitutions.
        families: the consensus of each family of repeats on this branch.
        rng: of this branch and record alone.
    """
    counts: Counter[str] = Counter()
    steps = max(1, round(million_years / STEP))
    for _ in range(steps):
        time = million_years / steps
        ids = _substitute(ids, time, rates, rng, counts)
        edits = [
            *_indels(ids, time * tree.substitutions.per_site, tree.indels, rng),
            *_duplications(ids, time, tree.duplications, rng),
            *(
                edit
                for family in tree.repeats
                for edit in _repeats(
                    ids, time * family.per_megabase, families[family.name], family.truncated, rng
                )
            ),
        ]
        ids = _apply(ids, edits, counts)
    return ids, counts


def _substitute(ids: Ids, time: float, rates: Rates, rng: np.random.Generator, counts: Counter[str]) -> Ids:
    total = rates.transition + rates.transversion
    number = rng.poisson(ids.size * time * total.max())
    place = np.unique(rng.integers(ids.size, size=number))
    cpg = in_cpg(ids, place).astype(np.int64)
    chance = rng.random(place.size) * total.max()
    # Below the transversion rate a transversion, above it up to the sum of both a transition.
    changes = (chance < total[cpg]) & (ids[place] < _N)
    place, cpg, chance = place[changes], cpg[changes], chance[changes]
    is_transversion = chance < rates.transversion[cpg]
    # A, C, G, T = 0, 1, 2, 3: the transition of a base is two away, its transversions are one and three away.
    away = np.where(is_transversion, 1 + 2 * rng.integers(2, size=place.size), 2)
    changed = ids.copy()
    changed[place] = (ids[place] + away) % 4
    for name, chosen in (("transitions", ~is_transversion), ("transversions", is_transversion)):
        counts[name] += int(np.count_nonzero(chosen))
        counts[f"CpG {name}"] += int(np.count_nonzero(chosen & (cpg == 1)))
    return changed


def _places(ids: Ids, expected: float, rng: np.random.Generator) -> list[int]:
    """Draw positions of a Poisson number of changes; none next to N or at the ends."""
    place = rng.integers(1, max(2, ids.size), size=rng.poisson(expected))
    place = place[place < ids.size]
    return [int(p) for p in place[(ids[place] < _N) & (ids[place - 1] < _N)]]


def _indels(ids: Ids, substitutions: float, indels: Indels, rng: np.random.Generator) -> list[Edit]:
    places = _places(ids, ids.size * substitutions * indels.per_substitution, rng)
    length = np.arange(1, indels.longest + 1)
    odds = length**-indels.exponent
    lengths = rng.choice(length, size=len(places), p=odds / odds.sum()).tolist()
    deleted = rng.random(len(places)) < indels.deletions
    empty = np.empty(0, dtype=np.uint8)
    return [
        Edit(place, min(size, ids.size - place), empty, "deletions")
        if is_deletion
        # Most short insertions repeat what is before them: Messer and Arndt 2007, doi:10.1093/molbev/msm035.
        else Edit(place, 0, ids[max(0, place - size) : place], "insertions")
        for place, size, is_deletion in zip(places, lengths, deleted.tolist(), strict=True)
    ]


def _duplications(ids: Ids, time: float, rule: Duplications, rng: np.random.Generator) -> list[Edit]:
    edits = []
    for place in _places(ids, ids.size * 1e-6 * time * rule.per_megabase, rng):
        size = int(rule.shortest * (rule.longest / rule.shortest) ** rng.random())
        if size < ids.size:
            start = int(rng.integers(ids.size - size))
            edits.append(Edit(place, 0, ids[start : start + size], "duplications"))
    return edits


def _repeats(
    ids: Ids, per_megabase: float, consensus: Ids, truncated: bool, rng: np.random.Generator
) -> list[Edit]:
    edits = []
    for place in _places(ids, ids.size * 1e-6 * per_megabase, rng):
        copy = consensus[int(consensus.size * rng.random()) :] if truncated else consensus
        if rng.random() < 0.5:
            copy = _COMPLEMENT[copy[::-1]]
        site = ids[max(0, place - _TARGET_SITE) : place]
        edits.append(Edit(place, 0, np.concatenate([copy, site]), "repeats"))
    return edits


def _apply(ids: Ids, edits: list[Edit], counts: Counter[str]) -> Ids:
    if not edits:
        return ids
    pieces: list[Ids] = []
    done = 0
    for edit in sorted(edits, key=lambda edit: edit.place):
        if edit.place < done:  # within what another has just deleted
            continue
        pieces += [ids[done : edit.place], edit.inserted]
        done = edit.place + edit.deleted
        counts[edit.kind] += 1
        counts[f"bases of {edit.kind}"] += edit.deleted + edit.inserted.size
    return np.concatenate([*pieces, ids[done:]])
