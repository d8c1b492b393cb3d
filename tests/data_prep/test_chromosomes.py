import gzip
import os
import re

import pytest
from pyfaidx import Fasta

from data_prep.chromosomes import prepare, write_bgzf
from data_prep.sources import Chromosomes, RemoteFile, Source
from dnamamba.data.alphabet import get_alphabet
from dnamamba.data.compression import PIECE, Compression, compression_of
from dnamamba.data.fasta import Genome
from dnamamba.errors import UserError

CHROMOSOMES = Chromosomes(
    re.compile(r"chromosome (\d+|X)(?:,|$)"), ("chr1", "chr2", "chrX"), {"chr2": ("chr3", "chr5")}
)
SOURCE = Source(
    "ape", "S", "A", "X", "", "", "", (RemoteFile("fasta", "https://example.org/a.fna.gz"),), CHROMOSOMES
)
TEXT = """\
>NC_1.2 Ape chromosome 2, A_v2, whole
acgtACGTnn
acg
>NW_9.1 Ape chromosome 2 unlocalized genomic scaffold, A_v2
TTTTTTTTTT
>NC_3.2 Ape chromosome X, A_v2, whole
GGGG
>NC_2.2 Ape chromosome 1
ccccgggg
cccc
>NC_4.1 Ape mitochondrion, complete genome
AAAA
"""


@pytest.fixture
def downloaded(tmp_path):
    path = tmp_path / "a.fna.gz"
    path.write_bytes(gzip.compress(TEXT.encode()))
    return path


def test_chromosomes_are_chosen_renamed_and_indexed(downloaded, tmp_path):
    made = prepare(SOURCE, downloaded, tmp_path)
    assert compression_of(made.fasta) is Compression.BGZF
    assert gzip.decompress(made.fasta.read_bytes()).decode() == (
        ">chr2 NC_1.2 Ape chromosome 2, A_v2, whole\nACGTACGTNN\nACG\n"
        ">chrX NC_3.2 Ape chromosome X, A_v2, whole\nGGGG\n"
        ">chr1 NC_2.2 Ape chromosome 1\nCCCCGGGG\nCCCC\n"
    )
    assert made.chromosomes.read_text() == (
        "chromosome\trecord\tbases\thuman\n"
        "chr2\tNC_1.2\t13\tchr3,chr5\nchrX\tNC_3.2\t4\tchrX\nchr1\tNC_2.2\t12\tchr1\n"
    )
    genome = Genome(made.fasta, get_alphabet("dna"))
    assert dict(genome.lengths) == {"chr2": 13, "chrX": 4, "chr1": 12}
    assert genome.alphabet.decode(genome.fetch("chr1")) == "CCCCGGGGCCCC"


def test_the_indices_are_those_that_others_read(downloaded, tmp_path):
    made = prepare(SOURCE, downloaded, tmp_path)
    before = {path: path.read_bytes() for path in made}
    with Fasta(str(made.fasta), rebuild=False) as fasta:
        assert str(fasta["chr2"][8:12]) == "NNAC"
        assert str(fasta["chr1"][7:]) == "GCCCC"
    assert {path: path.read_bytes() for path in made} == before


def test_bytes_are_same_for_runs_and_packings(tmp_path):
    # Records of more than a piece, and not of whole lines, so that borders of pieces lie within lines.
    bases = "ACGTTGCAAC" * (PIECE // 9)
    body = "\n".join(bases[start : start + 61] for start in range(0, len(bases), 61))
    one, two, three = f"chromosome 1\n{body}\n", f"chromosome 2\n{body}\n", "chromosome X\nA\n"
    text = f">a {one}>b unplaced\n{body}\n>c {two}>d {three}".encode()
    written = set()
    for packed in (text, gzip.compress(text), gzip.compress(text[:999]) + gzip.compress(text[999:])):
        source, out = tmp_path / "source.fa", tmp_path / "out.fa.gz"
        source.write_bytes(packed)
        assert write_bgzf(source, out, CHROMOSOMES) == {"chr1": "a", "chr2": "c", "chrX": "d"}
        written.add(out.read_bytes())
    (content,) = written
    assert gzip.decompress(content).decode() == f">chr1 a {one}>chr2 c {two}>chrX d {three}"


def test_a_prepared_genome_is_not_prepared_again(downloaded, tmp_path):
    made = prepare(SOURCE, downloaded, tmp_path)
    times = [path.stat().st_mtime_ns for path in made]
    assert prepare(SOURCE, downloaded, tmp_path) == made
    assert [path.stat().st_mtime_ns for path in made] == times
    made.gzi.unlink()
    prepare(SOURCE, downloaded, tmp_path)
    assert made.gzi.exists()
    later = max(times) + 10**10
    os.utime(downloaded, ns=(later, later))
    assert not made.newer_than(downloaded)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda text: gzip.compress(text.replace(b"chromosome X", b"plasmid")),
            "no record of 1 .*, chrX; .*'NC_1",
        ),
        (lambda text: gzip.compress(b"not FASTA\n"), "no record of 3 .*, chr1, chr2, chrX; it has 0 records"),
        (lambda text: gzip.compress(text + text), "two records are chr2, NC_1.2 and NC_1.2 Ape"),
        (lambda text: gzip.compress(text)[:-20], "truncated or corrupt"),
        (lambda text: b"BZh9", "compressed with bzip2"),
        (lambda text: gzip.compress(text.replace(b"GGGG\n", b"GG\nGGGG\n")), "record chrX, line"),
    ],
)
def test_other_file_than_genome_is_refused(downloaded, tmp_path, change, message):
    downloaded.write_bytes(change(TEXT.encode()))
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match=message):
        prepare(SOURCE, downloaded, tmp_path / "out")
    assert [name for name in os.listdir(tmp_path / "out") if name.startswith(".") or "fai" in name] == []
