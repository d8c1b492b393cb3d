"""Which windows of several species are drawn."""

import numpy as np
import pytest

from dnamamba.data.species import CleanStretches
from dnamamba.data.species_windows import SpeciesWindows
from tests.data.species_files import DNA, INDEX, by_record, genomes_of, loci_at


@pytest.fixture
def windows(write):
    paths = write(
        a={"a|1": 64, "a|2": 400, "a|3": 90},
        b={"b|1": 300, "b|2": 70, "b|3": 90},
        c={"c|1": 80, "c|2": 64, "c|3": 99},
    )
    genomes = genomes_of(paths)
    return SpeciesWindows(genomes, loci_at(genomes, 64), 64, 11, reverse_complement=True)


def test_species_locus_and_place_are_uniform_and_independent(windows):
    species, drawn = windows.draw(INDEX)
    locus = np.array([int(name[-1]) - 1 for name in windows.names])[drawn.record]
    assert np.array_equal(species, np.array(["abc".index(name[0]) for name in windows.names])[drawn.record])
    cells = np.bincount(3 * species + locus, minlength=9)
    expected = INDEX.size / 9
    assert ((cells - expected) ** 2 / expected).sum() < 26  # chi-square, 8 degrees of freedom, p = 0.001
    # The places of one pair: 400 - 64 + 1 of them.
    here = drawn.start[(species == 0) & (locus == 1)]
    counts = np.bincount(here, minlength=337)
    assert counts.size == 337
    statistic = ((counts - counts.mean()) ** 2 / counts.mean()).sum()
    assert abs(statistic - 336) < 4 * np.sqrt(2 * 336)
    assert abs(drawn.strand.mean() - 0.5) < 4 * 0.5 / np.sqrt(INDEX.size)
    assert abs(np.corrcoef(drawn.strand, species)[0, 1]) < 4 / np.sqrt(INDEX.size)


def test_a_locus_weighs_the_same_in_every_species(write):
    genomes = genomes_of(write(a={"a|1": 500, "a|2": 100}, b={"b|1": 100, "b|2": 300}))
    splits = by_record(genomes, valid=[], test=[], by_bases=True)
    loci = CleanStretches(genomes, splits, 0.0).loci("train", 50)
    assert [locus.weight for locus in loci] == [300, 200]
    drawn = SpeciesWindows(genomes, loci, 50, 1, reverse_complement=False)
    species, found = drawn.draw(INDEX)
    first = np.char.endswith(np.array(drawn.names), "1")[found.record]
    for number in (0, 1):
        assert abs(first[species == number].mean() - 0.6) < 4 * np.sqrt(0.24 / (INDEX.size / 2))


def test_sample_is_function_of_its_number_and_seed(windows):
    species, drawn = windows.draw(INDEX[:500])
    order = np.random.default_rng(0).permutation(500)
    again_species, again = windows.draw(order)
    assert np.array_equal(again_species, species[order])
    assert all(np.array_equal(a, b[order]) for a, b in zip(again, drawn, strict=True))
    windows.seed += 1
    assert np.mean(windows.draw(INDEX[:500])[0] == species) < 0.5


def test_the_tokens_are_those_of_the_region(windows):
    _, drawn = windows.draw(INDEX[:200])
    tokens = windows.tokens(drawn)
    assert tokens.shape == (200, 64)
    for row, record, start, strand in zip(tokens, drawn.record, drawn.start, drawn.strand, strict=True):
        bases = windows.genomes.fetch(windows.names[record], start, start + 64)
        assert np.array_equal(row, DNA.reverse_complement(bases) if strand else bases)
    record, start, strand = drawn.record[7], drawn.start[7], drawn.strand[7]
    expected = f"{windows.names[record]}:{start}-{start + 64}({'-' if strand else '+'})"
    assert windows.regions(drawn)[7] == expected


def test_a_fixed_set_has_as_many_of_each(windows):
    windows.balanced = True
    species, drawn = windows.draw(INDEX[:31])
    assert np.array_equal(species, INDEX[:31] % 3)
    assert all(
        windows.names[record][0] == "abc"[one] for record, one in zip(drawn.record, species, strict=True)
    )
