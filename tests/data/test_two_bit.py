"""Genomes in .2bit: equal to their FASTA and to another reader, and damage in one line."""

import os
import struct
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from dnamamba import Genome, UserError, get_alphabet
from dnamamba.data import two_bit
from dnamamba.data.two_bit import TwoBitReader

RNG = np.random.default_rng(0)
RECORDS = {
    "one": "ACGT" * 3 + "nnNN" + "acgTTa",
    "empty of N": "G",
    "long": "".join(RNG.choice(list("ACGTacgtN"), 997, p=[0.2, 0.2, 0.2, 0.2, 0.04, 0.04, 0.04, 0.04, 0.04])),
}


def runs(chosen: list[bool]) -> list[tuple[int, int]]:
    """Starts and sizes of the runs of True."""
    edges = np.flatnonzero(np.diff([0, *map(int, chosen), 0])).reshape(-1, 2)
    return [(int(start), int(end - start)) for start, end in edges]


def two_bit_bytes(records: dict[str, str], order: str = "<", version: int = 0) -> bytes:
    """Write the format by hand, as UCSC describes it."""
    place = "Q" if version else "I"
    size = 16 + sum(1 + len(name.encode()) + struct.calcsize(f"<{place}") for name in records)
    index, bodies = b"", b""
    for name, letters in records.items():
        index += bytes([len(name.encode())]) + name.encode()
        index += struct.pack(f"{order}{place}", size + len(bodies))
        body = struct.pack(f"{order}I", len(letters))
        for found in (runs([x in "Nn" for x in letters]), runs([x.islower() for x in letters])):
            starts, sizes = zip(*found, strict=True) if found else ((), ())
            body += struct.pack(f"{order}{1 + 2 * len(found)}I", len(found), *starts, *sizes)
        body += struct.pack(f"{order}I", 0)
        codes = ["TCAG".find(x.upper()) % 4 for x in letters] + [0, 0, 0]
        body += bytes(
            codes[i] << 6 | codes[i + 1] << 4 | codes[i + 2] << 2 | codes[i + 3]
            for i in range(0, len(letters), 4)
        )
        bodies += body
    head = struct.pack(f"{order}4I", two_bit.SIGNATURE, version, len(records), 0)
    return head + index + bodies


def letters_of(reader: TwoBitReader, name: str) -> str:
    return b"".join(piece.tobytes() for piece in reader.letters(name)).decode()


@pytest.fixture
def genome(tmp_path: Path) -> Path:
    path = tmp_path / "g.2bit"
    path.write_bytes(two_bit_bytes(RECORDS))
    return path


@pytest.mark.parametrize(("order", "version"), [("<", 0), (">", 0), ("<", 1)])
@pytest.mark.parametrize("piece", [1 << 20, 8])
def test_letters_are_those_that_were_written(
    order: str, version: int, piece: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(two_bit, "PIECE", piece)
    (tmp_path / "g.2bit").write_bytes(two_bit_bytes(RECORDS, order, version))
    reader = TwoBitReader(tmp_path / "g.2bit")
    assert reader.lengths == {name: len(letters) for name, letters in RECORDS.items()}
    for name, letters in RECORDS.items():
        assert letters_of(reader, name) == letters


def test_letters_are_those_of_py2bit(genome: Path) -> None:
    py2bit = pytest.importorskip("py2bit")
    reader, other = TwoBitReader(genome), py2bit.open(str(genome), True)
    for name in RECORDS:
        # py2bit writes N in upper case where the file has it masked; UCSC's own programs don't.
        assert letters_of(reader, name).replace("n", "N") == other.sequence(name)


@pytest.mark.parametrize("alphabet", ["dna", "bytes"])
def test_genome_is_that_of_its_fasta(alphabet: str, genome: Path, tmp_path: Path) -> None:
    fasta = "".join(f">{name.replace(' ', '_')}\n{letters}\n" for name, letters in RECORDS.items())
    (tmp_path / "g.fa").write_text(fasta)
    found = Genome(genome, get_alphabet(alphabet))
    expected = Genome(tmp_path / "g.fa", get_alphabet(alphabet))
    for name, other in zip(found.names, expected.names, strict=True):
        np.testing.assert_array_equal(found.fetch(name), expected.fetch(other))
    np.testing.assert_array_equal(found.fetch("long", 501, 777), expected.fetch("long", 501, 777))


def test_name_of_file_does_not_matter(genome: Path, tmp_path: Path) -> None:
    genome.rename(tmp_path / "g.fa")
    assert Genome(tmp_path / "g.fa", get_alphabet("dna")).names == tuple(RECORDS)


@pytest.mark.parametrize("cut", [10, 18, 40, 90, 200, -1])
def test_cut_file_is_refused_where_it_is_read(cut: int, genome: Path) -> None:
    genome.write_bytes(genome.read_bytes()[:cut])
    with pytest.raises(UserError, match=r"g\.2bit is damaged: .* goes past the end of the file; use another"):
        TwoBitReader(genome)


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (4, 7, r"version 7 of \.2bit is not read; convert it"),
        (8, 0, "is damaged: it has no records"),
        (8, 4, "is damaged: "),
    ],
)
def test_wrong_header_is_refused(place: int, value: int, said: str, genome: Path) -> None:
    data = bytearray(genome.read_bytes())
    data[place : place + 4] = struct.pack("<I", value)
    genome.write_bytes(data)
    with pytest.raises(UserError, match=said):
        TwoBitReader(genome)


def test_intervals_past_the_record_are_refused(tmp_path: Path) -> None:
    data = two_bit_bytes({"c": "NNNN"})
    place = data.index(struct.pack("<4I", 4, 1, 0, 4)) + 12
    (tmp_path / "g.2bit").write_bytes(data[:place] + struct.pack("<I", 5) + data[place + 4 :])
    with pytest.raises(UserError, match="record c overlap or go past its end; use another copy"):
        TwoBitReader(tmp_path / "g.2bit")


def test_name_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    data = two_bit_bytes({"a": "ACGT", "b": "ACGT"}).replace(b"\x01b", b"\x01a")
    (tmp_path / "g.2bit").write_bytes(data)
    with pytest.raises(UserError, match="the name 'a' is empty or there twice"):
        TwoBitReader(tmp_path / "g.2bit")


def test_flipped_bit_before_the_bases_is_seen(genome: Path) -> None:
    """All but in names, which nothing else in the file repeats."""
    data, names = genome.read_bytes(), ",".join(RECORDS).encode()
    end = 16 + sum(5 + len(name) for name in RECORDS)
    for place in range(4, end):
        for bit in (0, 4, 7):
            changed = bytearray(data)
            changed[place] ^= 1 << bit
            genome.write_bytes(changed)
            try:
                found = TwoBitReader(genome).lengths
            except UserError:
                continue
            assert list(found) != list(RECORDS), f"bit {bit} of byte {place}"
            assert list(found.values()) == [len(letters) for letters in RECORDS.values()]
            assert data[place] in names


def test_bytes_of_no_record_are_refused(genome: Path) -> None:
    data = bytearray(genome.read_bytes())
    genome.write_bytes(data + b"\0")
    with pytest.raises(UserError, match=r"g\.2bit is damaged: 1 byte\(s\) at its end belong to no record"):
        TwoBitReader(genome)
    data[8:12] = struct.pack("<I", 2)  # records, of 3
    genome.write_bytes(data)
    with pytest.raises(UserError, match=r"damaged: record one is at \d+, expected at \d+; use another copy"):
        TwoBitReader(genome)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda path, other: path.write_bytes(other), "changed while it was in use"),
        (lambda path, other: path.chmod(0o600), None),
        (lambda path, other: path.unlink(), "No such file or directory any more"),
    ],
    ids=["other bases", "other mode", "gone"],
)
def test_open_file_of_same_size_and_time_is_compared(
    genome: Path, change: Callable[[Path, bytes], object], said: str | None
) -> None:
    """As after `cp -p` of another genome over it: .2bit has no checksums."""
    other = two_bit_bytes({**RECORDS, "long": RECORDS["long"].replace("A", "C")})
    opened, times = Genome(genome, get_alphabet("dna")), genome.stat()
    assert opened.alphabet.decode(opened.fetch("empty of N")) == "G"
    assert len(other) == times.st_size
    change(genome, other)
    if genome.exists():
        os.utime(genome, ns=(times.st_atime_ns, times.st_mtime_ns))
    with nullcontext() if said is None else pytest.raises(UserError, match=said):
        assert opened.alphabet.decode(opened.fetch("long")).upper() == RECORDS["long"].upper()
