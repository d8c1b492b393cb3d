import gzip
import os
import pickle
import random
from itertools import count

import numpy as np
import pytest
from fasta_texts import COMPRESSIONS, bgzip, fasta_files
from hypothesis import given, settings
from hypothesis import strategies as st

from dnamamba.data import reader
from dnamamba.data.alphabet import get_alphabet
from dnamamba.data.fasta import Genome
from dnamamba.errors import UserError

TICKS = count(10**18)
DNA, BYTES = get_alphabet("dna"), get_alphabet("bytes")
PROTEIN = (
    "MVKLTSIAAGVAAIAATASATTTLAQSDERVNLVELGVYVSDIRAHLAQYYMFQAAHPTE"
    "TYPVEVAEAVFNYGDFTTMLTGIAPDQVTRMITGVPWYSSRLKPAISSALSKDGIYTIAN"
)


def random_bases(length, seed=0):
    return np.frombuffer(b"ACGT", dtype=np.uint8)[
        np.random.default_rng(seed).integers(4, size=length)
    ].tobytes()


def wrap(bases, width):
    return b"".join(bases[start : start + width] + b"\n" for start in range(0, len(bases), width))


def write(path, content):
    """Write a file with a modification time of its own, which the clock's tick does not promise."""
    path.write_bytes(content)
    tick = next(TICKS)
    os.utime(path, ns=(tick, tick))


def everything(path, alphabet):
    """All records as text, or the error as its message."""
    try:
        genome = Genome(path, alphabet)
        return {name: alphabet.decode(genome.fetch(name)) for name in genome.names}
    except UserError as error:
        return str(error)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


@pytest.mark.parametrize("name", COMPRESSIONS)
@given(file=fasta_files())
@settings(max_examples=25)
def test_every_form_of_file_gives_every_base(folder, name, file):
    records, text = file
    path = folder / name
    write(path, COMPRESSIONS[name](text))
    assert everything(path, BYTES) == records
    folded = {
        record: bases.upper().translate(str.maketrans("RYSWKM", "NNNNNN"))
        for record, bases in records.items()
    }
    assert everything(path, DNA) == folded


@given(
    content=st.one_of(
        st.binary(max_size=120),
        st.binary(max_size=60).map(lambda tail: b">a\nACGT\n" + tail),
        st.binary(max_size=40).map(lambda tail: b"\x1f\x8b\x08\x04" + tail),
        st.binary(max_size=40).map(lambda tail: bgzip(b">a\nACGT\n")[:18] + tail),
        st.binary(max_size=40).map(lambda tail: bgzip(b">a\nACGT\n") + tail),
        st.binary(max_size=40).map(lambda tail: gzip.compress(b">a\nACGT\n", mtime=0) + tail),
        st.binary(max_size=80).map(lambda text: gzip.compress(text, mtime=0)),
        st.binary(max_size=80).map(bgzip),
    ),
    name=st.sampled_from(["f.fa", "f.fa.gz"]),
)
@settings(max_examples=300)
def test_any_bytes_are_genome_or_one_clear_line(folder, content, name):
    path = folder / name
    write(path, content)
    for alphabet in (DNA, BYTES):
        found = everything(path, alphabet)
        if isinstance(found, str):
            assert str(path) in found
            assert "\n" not in found
        else:
            assert all(found.values())


@pytest.mark.parametrize("name", ["g.fa.gz", "g.fasta.gz"])
def test_truncated_file_is_never_read_as_shorter_genome(tmp_path, name):
    whole = COMPRESSIONS[name](b">a\n" + wrap(random_bases(3000), 60))
    path = tmp_path / name
    for length in random.Random(0).sample(range(1, len(whole)), 60):
        write(path, whole[:length])
        found = everything(path, DNA)
        assert isinstance(found, str), length
        assert "truncated" in found or length < 20, found


@pytest.mark.parametrize("name", ["g.fa.gz", "g.fasta.gz"])
def test_flipped_bit_is_never_read_as_other_bases(tmp_path, name):
    text = b">a\n" + wrap(random_bases(1000), 60)
    whole, path = bytearray(COMPRESSIONS[name](text)), tmp_path / name
    write(path, whole)
    intact = everything(path, DNA)
    refused = 0
    for bit in random.Random(1).sample(range(8 * len(whole)), 150):
        whole[bit // 8] ^= 1 << bit % 8
        write(path, whole)
        found = everything(path, DNA)
        whole[bit // 8] ^= 1 << bit % 8
        assert found == intact or isinstance(found, str)
        refused += isinstance(found, str)
    assert refused > 100


def test_record_longer_than_piece_and_range_of_it(tmp_path):
    bases = random_bases(2_500_000)
    for name, content in (("g.fa", wrap(bases, 70)), ("g.fa.gz", bgzip(b">c\n" + bases)), ("one.fa", bases)):
        content = content if name.endswith("gz") else b">c\n" + content
        path = tmp_path / name
        path.write_bytes(content)
        genome = Genome(path, BYTES)
        assert genome.fetch("c").tobytes() == bases
        assert genome.fetch("c", 1_048_570, 1_048_590).tobytes() == bases[1_048_570:1_048_590]


def test_records_that_begin_on_a_bgzf_block_border(tmp_path):
    first = random_bases(65536 - len(b">a\n\n>b\n"))
    second = random_bases(200_000, seed=1)
    path = tmp_path / "g.fa.gz"
    path.write_bytes(bgzip(b">a\n" + first + b"\n>b\n" + second + b"\n", block=65536))
    assert everything(path, BYTES) == {"a": first.decode(), "b": second.decode()}


def test_fetch_is_a_read_only_view(tmp_path):
    path = tmp_path / "g.fa"
    path.write_text(">a\nACGTN\n>b\nGG\n")
    genome = Genome(path, DNA)
    assert (genome.names, genome.lengths) == (("a", "b"), {"a": 5, "b": 2})
    genome.load(["a"])
    part = genome.fetch("a", 1, 3)
    assert part.tolist() == [1, 2]
    assert part.base is genome.fetch("a", 4).base
    assert genome.fetch("a", 5).size == 0
    with pytest.raises(ValueError, match="read-only"):
        part[0] = 0


@pytest.mark.parametrize(("start", "end"), [(-1, 3), (0, 6), (4, 3), (6, None)])
def test_a_range_outside_a_record_is_named(tmp_path, start, end):
    path = tmp_path / "g.fa"
    path.write_text(">a\nACGTN\n")
    with pytest.raises(UserError, match=rf"g\.fa, record a: no bases {start} to .* in a length of 5"):
        Genome(path, DNA).fetch("a", start, end)


def test_unknown_record_is_named_with_those_like_it(tmp_path):
    path = tmp_path / "g.fa"
    path.write_text(">chr1\nA\n>chr2\nA\n>x\nA\n")
    with pytest.raises(UserError, match=r"g\.fa: no record 'chr3'; did you mean chr2 or chr1\?"):
        Genome(path, DNA).fetch("chr3")
    with pytest.raises(UserError, match=r"g\.fa: no record '7'; the records are chr1, chr2, x"):
        Genome(path, DNA).load(["x", "7"])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.fa", b"", "a.fa is empty"),
        ("a.fa", b"\n\n", "a.fa: no records"),
        ("a.fa", b"ACGT\n", "a.fa, line 1: no header"),
        (
            "a.fa",
            b">p\n" + PROTEIN.encode() + b"\n",
            r"a.fa, record p: \d+ of 120 letters .* first 'L' at position 4;",
        ),
        ("a.fa.gz", b">a\nACGT\n", "a.fa.gz is not compressed although its name ends in .gz"),
        (
            "a.fa.bz2",
            b"BZh91AY&SY",
            "a.fa.bz2 is compressed with bzip2; give it plain, or compressed with gzip",
        ),
        ("a.fa", b"\xfd7zXZ\x00\x00", "a.fa is compressed with xz"),
        ("a.fa", b"\x28\xb5\x2f\xfd\x00", "a.fa is compressed with Zstandard"),
        ("a.fa", b"PK\x03\x04\x00", "a.fa is compressed with zip"),
        (
            "a.fa.gz",
            gzip.compress(b">a\nACGT\n", mtime=0)[:-3],
            "a.fa.gz is truncated: its gzip data stop in the middle",
        ),
        (
            "a.fa.gz",
            gzip.compress(b">a\nACGT\n", mtime=0)[:-8] + bytes(8),
            "a.fa.gz is corrupt: CRC check failed",
        ),
        ("a.fa.gz", gzip.compress(b">a\nA\n>a\nA\n", mtime=0), "a.fa.gz, line 3: a second record named 'a'"),
        ("a.fa.gz", bgzip(b">a\nACGT\n")[:-28], "a.fa.gz is truncated: the empty block that ends"),
        ("a.fa.gz", bgzip(b">a\nACGT\n")[:-40], "a.fa.gz is truncated or corrupt: "),
    ],
)
def test_a_bad_file_is_named_in_one_line(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        Genome(path, DNA).load()
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == [name]


def test_what_is_not_a_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.fa: no such file"):
        Genome(tmp_path / "none.fa", DNA)
    with pytest.raises(UserError, match="is a folder, not a FASTA file"):
        Genome(tmp_path, DNA)
    with pytest.raises(UserError, match="/dev/null is not a regular file"):
        Genome("/dev/null", DNA)
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="no such file"):
        Genome(tmp_path / "file" / "below.fa", DNA)


def test_alphabet_bytes_reads_protein_dna_reads_n(tmp_path):
    path = tmp_path / "p.fa"
    write(path, f">p\n{PROTEIN}\n".encode())
    assert everything(path, BYTES) == {"p": PROTEIN}
    write(path, b">p\n" + b"ACGT" * 25 + b"!!\n")
    assert everything(path, DNA) == {"p": "ACGT" * 25 + "NN"}


def test_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "g.fa").write_text(">a\nAC\n")
    assert everything("~/g.fa", DNA) == {"a": "AC"}


@pytest.mark.parametrize("name", ["g.fa", "g.fa.gz", "g.fasta.gz"])
def test_index_is_made_once_in_the_cache(tmp_path, name, monkeypatch):
    path = tmp_path / name
    path.write_bytes(COMPRESSIONS[name](b">a\nACGT\n"))
    assert everything(path, DNA) == {"a": "ACGT"}
    assert os.listdir(tmp_path) == [name]

    def fail(*_):
        raise AssertionError("made again")

    for maker in ("index_with_checksums", "expand", "bgzf_blocks"):
        monkeypatch.setattr(reader, maker, fail)
    assert everything(path, DNA) == {"a": "ACGT"}


def test_changed_file_is_read_anew_with_new_index(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "changing.fa"
    path.write_text(">a\nACGT\n")
    os.utime(path, ns=(10**18, 10**18))
    assert everything(path, DNA) == {"a": "ACGT"}
    path.write_text(">a\nTTGT\n")
    os.utime(path, ns=(10**18 + 1000, 10**18 + 1000))
    assert everything(path, DNA) == {"a": "TTGT"}
    path.write_text(">b\nTT\nGT\n")
    os.utime(path, ns=(4 * 10**18, 4 * 10**18))  # in the future: pyfaidx would find any index stale
    assert everything(path, DNA) == {"b": "TTGT"}
    assert len(os.listdir(tmp_path / "cache" / "dnamamba")) == 2  # where records lie, and their checksums


def test_pickled_genome_reads_same_without_carrying_bases(tmp_path):
    path = tmp_path / "g.fa"
    path.write_bytes(b">a\n" + random_bases(50_000) + b"\n")
    genome = Genome(path, DNA)
    genome.load()
    frozen = pickle.dumps(genome)
    assert len(frozen) < 1000
    copy = pickle.loads(frozen)
    assert copy.alphabet is DNA
    assert copy.fetch("a").tobytes() == genome.fetch("a").tobytes()


def test_a_forked_process_opens_the_file_for_itself(tmp_path):
    path = tmp_path / "g.fa"
    records = {f"r{number}": random_bases(3_000_000, number).decode() for number in range(2)}
    path.write_text("".join(f">{name}\n{bases}\n" for name, bases in records.items()))
    genome = Genome(path, BYTES)
    handle = genome._reader()
    pieces = handle.letters("r0")
    begun = next(pieces).tobytes()
    pid = os.fork()
    if not pid:
        # A shared handle would leave the parent in the middle of the other record.
        os._exit(0 if genome.fetch("r1").tobytes().decode() == records["r1"] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert begun + b"".join(piece.tobytes() for piece in pieces) == records["r0"].encode()
