"""A FASTA that changes, is replaced or comes by a pipe: read as it is, or one clear error."""

import gzip
import os
import pickle
import subprocess
import sys

import pytest
from fasta_texts import COMPRESSIONS
from test_fasta import BYTES, DNA, everything, random_bases, write

from dnamamba.data import cache
from dnamamba.data.fasta import Genome
from dnamamba.errors import UserError

CHANGES = {
    "longer": b">a\nACGTACGTACGT\n>b\nGGCC\n",
    "shorter": b">a\nACG\n",
    "other names": b">c\nACGTACGT\n>b\nGGCC\n",
    "same size": b">a\nACGTAC\n>b\nGGCCTT\n",
    "empty": b"",
    "gone": None,
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", ["g.fa", "g.fa.gz", "g.fasta.gz"])
@pytest.mark.parametrize("use", ["fetch", "pieces", "copy"])
def test_genome_whose_file_changed_is_one_clear_error(tmp_path, change, name, use):
    path = tmp_path / name
    write(path, COMPRESSIONS[name](b">a\nACGTACGT\n>b\nGGCC\n"))
    genome = Genome(path, DNA)
    assert genome.lengths == {"a": 8, "b": 4}
    content = CHANGES[change]
    if content is None:
        path.unlink()
    else:
        write(path, COMPRESSIONS[name](content))
    uses = {
        "fetch": lambda: genome.fetch("b"),
        "pieces": lambda: list(genome.pieces("b")),
        "copy": lambda: pickle.loads(pickle.dumps(genome)).fetch("b"),
    }
    with pytest.raises(UserError, match=rf"{name}: (changed while it was in use|No such file)") as caught:
        uses[use]()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["g.fa", "g.fa.gz", "g.fasta.gz"])
def test_replacement_of_same_size_and_time_is_read(tmp_path, name):
    first, second = random_bases(300).decode(), random_bases(300, 1).decode()
    path = tmp_path / name
    for names in ("ab", "ba"):
        text = f">{names[0]}\n{first}\n>{names[1]}\n{second}\n"
        path.write_bytes(
            gzip.compress(text.encode(), 0, mtime=0)
            if name == "g.fasta.gz"
            else COMPRESSIONS[name](text.encode())
        )
        os.utime(path, ns=(5, 5))
        assert everything(path, DNA) == {names[0]: first, names[1]: second}


def test_bases_that_changed_are_found_by_checksum(tmp_path):
    """Of a large file the fingerprint covers samples: what lies between them is checked when it is read."""
    bases = random_bases(2_500_000)
    path = tmp_path / "g.fa"
    text = b">a\n" + bases + b"\n>b\nAC\n"
    path.write_bytes(text)
    os.utime(path, ns=(5, 5))
    seen = Genome(path, DNA)
    assert seen.lengths == {"a": 2_500_000, "b": 2}
    cut = 17_000  # between two samples
    swapped = text[:cut] + b"\n>c\n" + text[cut + 4 :]
    path.write_bytes(swapped)
    os.utime(path, ns=(5, 5))
    with pytest.raises(UserError, match=r"g\.fa: changed while it was in use"):
        seen.fetch("a")
    assert Genome(path, DNA).names == ("a", "c", "b")


def test_names_swapped_between_samples_are_found(tmp_path, monkeypatch):
    """Of the same size, time and samples, with the same bases in the same places; on a coarse clock."""
    monkeypatch.setattr(cache, "_version", cache.fingerprint)
    path, parts = tmp_path / "g.fa", [random_bases(1_300_017, seed) for seed in range(3)]
    for order in ("abc", "acb"):
        texts = zip(order.encode(), parts, strict=True)
        path.write_bytes(b"".join(b">%c one\n%s\n" % text for text in texts))
        os.utime(path, ns=(5, 5))
        genome = Genome(path, DNA)
        assert genome.names == ("a", "b", "c")  # of the index
    with pytest.raises(UserError, match=r"g\.fa, record b: not what it was when the file was indexed"):
        list(Genome(path, DNA).pieces("b"))
    assert {name: DNA.decode(genome.fetch(name)).encode() for name in "abc"} == dict(
        zip(order, parts, strict=True)
    )


@pytest.mark.parametrize("name", ["g.fa", "g.fa.gz", "g.fasta.gz"])
def test_piped_fasta_is_read_and_leaves_nothing(tmp_path, name):
    text = COMPRESSIONS[name](b">a\nACGT\n>b\nGG\nCCC\n" if name == "g.fa" else b">a\nACGT\n>b\nGGCCC\n")
    os.mkfifo(tmp_path / "pipe")
    program = (
        "import sys; from dnamamba import Genome, get_alphabet\n"
        "genome = Genome(sys.argv[1], get_alphabet('dna'))\n"
        "print(dict(genome.lengths), genome.alphabet.decode(genome.fetch('b')), genome.path)"
    )
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    reader = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "pipe")],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    (tmp_path / "pipe").write_bytes(text)
    assert reader.communicate()[0] == f"{{'a': 4, 'b': 5}} GGCCC {tmp_path / 'pipe'}\n"
    assert sorted(os.listdir(tmp_path)) == ["dnamamba", "pipe"]
    assert os.listdir(tmp_path / "dnamamba") == []


def test_pieces_of_damaged_copy_are_those_of_file(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path, bases = tmp_path / "g.fasta.gz", random_bases(3_000_000)
    path.write_bytes(gzip.compress(b">a\n" + bases + b"\n", 1))
    assert Genome(path, BYTES).lengths == {"a": 3_000_000}
    (copy,) = (tmp_path / "cache" / "dnamamba").glob("*.fa")
    damaged = bytearray(copy.read_bytes())
    damaged[2_500_000] ^= 1
    copy.write_bytes(damaged)
    assert b"".join(piece.tobytes() for piece in Genome(path, BYTES).pieces("a")) == bases
