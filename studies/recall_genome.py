"""Write DNA in which segments stand twice, to train a model for recall (`studies/recall.py` measures it).

    python studies/recall_genome.py --fasta chr20.fa.gz --region 20:10000000-22000000 --out copies.fa

The region is cut into records; in each, segments of 256 bases are written again further on, over what stood
there: exactly, with 5 or 20 % of the bases changed, or as the reverse complement, equally often. The distance
between the two is log-uniform. Half of the places of a record may be copies.
"""

import argparse
from pathlib import Path

import numpy as np

import dnamamba
from dnamamba.data.alphabet import Alphabet, Ids

SEGMENT = 256
MUTATED = (
    0.0,
    0.05,
    0.2,
)  # shares of bases that are changed; a fourth kind of copy is the reverse complement


def copy_of(segment: Ids, kind: int, dna: Alphabet, random: np.random.Generator) -> Ids:
    """Return a copy of a segment.

    Args:
        segment: ids of A, C, G, T and N.
        kind: place in `MUTATED`; one more: the reverse complement.
        dna: their alphabet.
        random: draws which bases change.
    """
    if kind == len(MUTATED):
        return dna.reverse_complement(segment)
    made = segment.copy()
    changed = np.flatnonzero((random.random(segment.size) < MUTATED[kind]) & (segment < 4))
    made[changed] = (made[changed] + random.integers(1, 4, changed.size)) % 4
    return made


def planted(ids: Ids, longest: int, dna: Alphabet, random: np.random.Generator) -> Ids:
    """Return a record with copies: from the left on, a segment, a gap, its copy.

    Args:
        ids: of the record.
        longest: distance between a segment and its copy.
        dna: their alphabet.
        random: draws kinds, places and distances.
    """
    made = ids.copy()
    for place in range(SEGMENT, ids.size - SEGMENT, 2 * SEGMENT):
        most = min(longest, place - SEGMENT)
        if most < 1:
            continue
        distance = int(np.exp(random.uniform(0, np.log(most + 1)))) - 1
        first = place - distance - SEGMENT
        kind = int(random.integers(len(MUTATED) + 1))
        made[place : place + SEGMENT] = copy_of(made[first : first + SEGMENT], kind, dna, random)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--fasta", required=True)
    parser.add_argument("--region", required=True, help="RECORD:START-END, from 0, end exclusive")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--length", type=int, default=16384, help="of a record")
    parser.add_argument("--longest", type=int, default=8192, help="distance between a segment and its copy")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    record, _, ends = options.region.rpartition(":")
    start, end = (int(part) for part in ends.split("-"))
    dna, random = dnamamba.get_alphabet("dna"), np.random.default_rng(options.seed)
    ids = dnamamba.Genome(options.fasta, dna).fetch(record, start, end)
    with options.out.open("w") as file:
        for number, first in enumerate(range(0, ids.size - options.length + 1, options.length)):
            made = planted(ids[first : first + options.length], options.longest, dna, random)
            file.write(f">copies_{number}\n{dna.decode(made)}\n")


if __name__ == "__main__":
    main()
