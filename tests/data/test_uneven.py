"""FASTA files whose lines are uneven or hold white space: read as Biopython reads them, or refused."""

import gzip
import io
import os
import tracemalloc

import pytest
from Bio.SeqIO.FastaIO import SimpleFastaParser
from fasta_texts import COMPRESSIONS
from hypothesis import given, settings
from hypothesis import strategies as st
from test_fasta import BYTES, DNA, everything, write

from dnamamba.data import fasta_lines
from dnamamba.data.fasta import Genome
from dnamamba.errors import UserError

LINES = st.lists(st.text(alphabet="ACGT \t\0\r", max_size=8), min_size=1, max_size=6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("uneven")


def biopython(text):
    """Records as Biopython reads them, without the NUL at line ends that it leaves."""
    rows = (line.rstrip("\0\t \n") for line in io.StringIO(text.decode(), newline=None))
    return {title.split()[0]: bases for title, bases in SimpleFastaParser(io.StringIO("\n".join(rows)))}


@pytest.mark.parametrize("name", ["g.fa", "g.fa.gz", "g.fasta.gz"])
@given(records=st.lists(LINES, min_size=1, max_size=3), long=st.sampled_from([5, 1 << 20]))
@settings(max_examples=150, deadline=None)
def test_what_is_read_is_what_biopython_reads(folder, name, records, long):
    text = "".join(f">r{number}\n" + "\n".join(lines) + "\n" for number, lines in enumerate(records)).encode()
    write(folder / name, COMPRESSIONS[name](text))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fasta_lines, "LONG", long)  # lines of more bytes come in parts
        for _ in range(2):
            found = everything(folder / name, BYTES)
            if isinstance(found, str):
                assert "carriage return" in found or "control character" in found or "no sequence" in found
                assert any(
                    set(line.rstrip(" \t\0\r")) & set("\t\0\r") or not "".join(lines).strip(" \t\0\r")
                    for lines in records
                    for line in lines
                )
            else:
                assert found == biopython(text)


@pytest.mark.parametrize("blank", [" ", "\t", "\0", "\r", "  \t", "\x0b", "\x1a"])
@pytest.mark.parametrize("name", ["g.fa", "g.fa.gz", "g.fasta.gz"])
def test_white_space_at_line_ends_is_ignored(tmp_path, blank, name):
    lines = ["ACGTTGCAAC" * 6] * 3 + ["ACG"]
    for end in ("\n", "\r\n"):
        text = ">a\n" + "".join(line + blank + end for line in lines) + ">b\nGATTACA\n"
        write(tmp_path / name, COMPRESSIONS[name](text.encode()))
        assert everything(tmp_path / name, DNA) == {"a": "".join(lines), "b": "GATTACA"}


def test_lines_of_any_length_and_blocks_of_ten(tmp_path):
    path = tmp_path / "g.fa"
    write(path, b">a\nACGT\nAC\n\nACGTACGT\n>b\nACGTACGTAC GTACGTACGT\nAC GT\n>c\nAA\r\nCC\nGG\r\n")
    expected = {"a": "ACGTACACGTACGT", "b": "ACGTACGTACGTACGTACGTACGT", "c": "AACCGG"}
    for _ in range(2):
        assert everything(path, DNA) == expected


def test_uneven_file_is_joined_once(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "g.fasta.gz"
    write(path, COMPRESSIONS["g.fasta.gz"](b">a\nAC\nACGT\n"))
    for _ in range(2):
        assert everything(path, DNA) == {"a": "ACACGT"}
        names = os.listdir(tmp_path / "cache" / "dnamamba")
        assert sorted(name.split(".even.")[1] for name in names) == ["crc", "fa", "fai"]
    write(path, COMPRESSIONS["g.fasta.gz"](b">a\nACGT\nAC\n"))
    assert everything(path, DNA) == {"a": "ACGTAC"}


@pytest.mark.parametrize("name", ["g.fa", "g.fasta.gz"])
def test_one_long_line_is_indexed_in_bounded_memory(tmp_path, name):
    size = 40_000_000
    text = b">a\n" + b"ACGT" * (size // 4) + b"\n>b\nAC\n"
    (tmp_path / name).write_bytes(gzip.compress(text, 1) if name.endswith("gz") else text)
    del text
    tracemalloc.start()
    try:
        assert Genome(tmp_path / name, DNA).lengths == {"a": size, "b": 2}
        assert tracemalloc.get_traced_memory()[1] < size / 2
    finally:
        tracemalloc.stop()


def test_header_longer_than_line_may_be_is_refused(tmp_path):
    path = tmp_path / "g.fa"
    path.write_bytes(b">" + b"a" * 3_000_000 + b"\nACGT\n")
    with pytest.raises(UserError, match=r"g\.fa, line 1: .*header"):
        Genome(path, DNA).load()
