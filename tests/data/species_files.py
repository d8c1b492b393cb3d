"""Species of small random genomes, for tests of how they are split and drawn."""

import numpy as np

from dnamamba.data.alphabet import get_alphabet
from dnamamba.data.species import CleanStretches, SpeciesGenomes
from dnamamba.data.species_splits import split_by_chromosome, split_by_record

DNA = get_alphabet("dna")
INDEX = np.arange(30_000)


def letters(size, seed):
    return np.random.default_rng(seed).choice(np.frombuffer(b"ACGT", dtype=np.uint8), size).tobytes().decode()


def genomes_of(paths, remove_n=False):
    return SpeciesGenomes(paths, DNA, remove_n=remove_n)


def by_chromosome(genomes, valid=("1",), test=("5",), tables=None, by_bases=False):
    return split_by_chromosome(genomes, tables=tables or {}, valid=valid, test=test, by_bases=by_bases)


def by_record(genomes, valid=None, test=None, pattern=r"\|(.+)$", shares=(0.2, 0.2), by_bases=False):
    return split_by_record(genomes, pattern=pattern, valid=valid, test=test, shares=shares, by_bases=by_bases)


def loci_at(genomes, length, max_n=0.0, split="train"):
    splits = by_record(genomes, valid=[], test=[])
    return CleanStretches(genomes, splits, max_n).loci(split, length)
