import hashlib
import re

import numpy as np
import pytest

from dnamamba.data.alphabet import get_alphabet
from dnamamba.data.embedded import YEAST_CODING_SEQUENCES, YEAST_FASTA, YEAST_TEST, YEAST_VALID
from dnamamba.data.fasta import Genome
from dnamamba.data.intervals import read_bed

DNA = get_alphabet("dna")
ROMAN = ["I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII", "XIII", "XIV", "XV", "XVI"]


@pytest.fixture(scope="module")
def genome():
    genome = Genome(YEAST_FASTA, DNA)
    genome.load()
    return genome


def coding_sequences():
    for line in YEAST_CODING_SEQUENCES.read_text().splitlines():
        name, start, end, gene, score, strand, thick_start, thick_end, colour, count, sizes, starts = (
            line.split("\t")
        )
        assert (score, thick_start, thick_end, colour) == ("0", start, end, "0")
        sizes, starts = ([int(number) for number in column.split(",")] for column in (sizes, starts))
        assert len(sizes) == len(starts) == int(count)
        assert (starts[0], starts[-1] + sizes[-1]) == (0, int(end) - int(start))
        exons = [(int(start) + at, int(start) + at + size) for at, size in zip(starts, sizes, strict=True)]
        yield name, gene, strand, exons


def test_genome_is_one_that_provenance_names(genome):
    assert genome.names == tuple(f"chr{number}" for number in ROMAN)
    assert sum(genome.lengths.values()) == 12_071_326
    assert genome.lengths["chrV"] == 576_874
    ids = np.concatenate([genome.fetch(name) for name in genome.names])
    assert ids.max() == 3
    checksum = hashlib.sha256(DNA.to_letter[ids].tobytes()).hexdigest()
    assert checksum in YEAST_FASTA.with_name("PROVENANCE.md").read_text(encoding="utf-8")
    assert checksum.startswith("f26fa72015a818da")
    assert genome.fetch("chrI", 0, 30).tolist() == DNA.encode("CCACACCACACCCACACACCCACACACCAC").tolist()


def test_files_are_those_of_provenance_and_small():
    provenance = YEAST_FASTA.with_name("PROVENANCE.md").read_text(encoding="utf-8")
    sizes = 0
    for path in (YEAST_FASTA, YEAST_CODING_SEQUENCES):
        content = path.read_bytes()
        row = f"| `{path.name}` | {len(content):,} | `{hashlib.sha256(content).hexdigest()}` |"
        assert row in provenance
        sizes += len(content)
    assert sizes < 5_000_000
    assert re.search(r"BK006947\.3.*784,333", provenance)


def test_what_is_held_out_is_there(genome):
    assert {*YEAST_VALID, *YEAST_TEST} <= set(genome.names)
    assert not {*YEAST_VALID} & {*YEAST_TEST}


def test_coding_sequences_are_whole_reading_frames(genome):
    genes, stops = [], {"TAA", "TAG", "TGA"}
    for name, gene, strand, exons in coding_sequences():
        assert exons == sorted(exons)
        assert exons[-1][1] <= genome.lengths[name]
        ids = np.concatenate([genome.fetch(name, *exon) for exon in exons])
        bases = DNA.decode(DNA.reverse_complement(ids) if strand == "-" else ids)
        assert len(bases) % 3 == 0, gene
        assert (bases[:3], bases[-3:] in stops) == ("ATG", True), gene
        genes.append(gene)
    assert len(genes) == len(set(genes)) == 5_989


def test_bed_is_sorted_and_its_reader_reads_it(genome):
    intervals = read_bed(YEAST_CODING_SEQUENCES)
    assert len(intervals) == 5_989
    order = [(genome.names.index(interval.name), interval.start) for interval in intervals]
    assert order == sorted(order)
    assert 0.70 < sum(interval.length for interval in intervals) / 12_071_326 < 0.76
