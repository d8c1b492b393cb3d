import gzip
import os

import pytest

from data_prep import download, sources
from data_prep.lock import LOCK_NAME

from .server import serving

FASTA = gzip.compress(b">chr1 one\nacgtacgtac\n>chr2\nACGTACGTAC\n>chrUn\nNNNN\n")
BED = b"chr2\t0\t10\tvalid\nchr1\t5\t10\ttest\nchr1\t0\t5\ttrain\n"


@pytest.fixture
def servers(tmp_path, monkeypatch):
    """A server of the FASTA and one of the intervals, as the genome `tiny`."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving(FASTA) as fasta, serving(BED) as bed:
        path = tmp_path / "sources.toml"
        path.write_text(
            f"""
[tiny]
species = "Species"
assembly = "tiny1"
accession = "GCF_1"
about = "a tiny genome"
terms = "free"
citation = "Somebody"
files = [
  {{role = "fasta", url = "{fasta.url}/one.fa.gz", size = {len(FASTA)}}},
  {{role = "intervals", url = "{bed.url}/sequences.bed"}},
]
chromosomes = {{header = '^chr(\\d+)', required = ["1-2"]}}
"""
        )
        monkeypatch.setattr(download, "load_sources", lambda: sources.load_sources(path))
        yield fasta, bed


def test_a_genome_from_the_url_to_the_files(servers, tmp_path, capsys):
    assert download.main(["tiny", "--out", str(tmp_path / "genomes")]) == 0
    folder = tmp_path / "genomes" / "tiny"
    assert sorted(os.listdir(folder)) == [
        LOCK_NAME,
        "one.fa.gz",
        "sequences.bed",
        "tiny.bed",
        "tiny.chromosomes.tsv",
        "tiny.fa.gz",
        "tiny.fa.gz.fai",
        "tiny.fa.gz.gzi",
    ]
    assert (folder / "tiny.bed").read_text() == ("chr1\t0\t5\ttrain\nchr1\t5\t10\ttest\nchr2\t0\t10\tvalid\n")
    out = capsys.readouterr().out
    assert "Species, tiny1 (GCF_1)\nterms: free\ncite:  Somebody\n" in out
    assert f"{folder}/tiny.bed  train 1 segments, 5 bases; valid 1 segments, 10 bases; test 1" in out
    assert download.main(["tiny", "--out", str(tmp_path / "genomes")]) == 0
    assert [len(server.requests) for server in servers] == [1, 1]


def test_the_wrong_intervals_stop_it_with_one_line(servers, tmp_path, capsys):
    servers[1].content = BED.replace(b"10\tvalid", b"11\tvalid")
    assert download.main(["tiny", "--out", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.endswith(
        "sequences.bed, row 1: chr2 ends at 10 and the interval at 11; is it of this assembly?\n"
    )
    assert not (tmp_path / "tiny" / "tiny.bed").exists()


def test_an_interrupt_keeps_what_there_is(servers, tmp_path, capsys, monkeypatch):
    servers[0].script = ["drop:20"]

    def interrupted(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr("data_prep.fetch.time.sleep", interrupted)
    monkeypatch.setattr(download, "fetch", lambda file, folder: original(file, folder, sleep=interrupted))
    assert download.main(["tiny", "--out", str(tmp_path)]) == 130
    assert "interrupted; the same command resumes it" in capsys.readouterr().err
    assert (tmp_path / "tiny" / "one.fa.gz.part").read_bytes() == FASTA[:20]
    monkeypatch.setattr(download, "fetch", original)
    assert download.main(["tiny", "--out", str(tmp_path)]) == 0
    assert servers[0].requests == [None, "bytes=20-"]


def test_an_unknown_genome_lists_the_known(servers, capsys):
    with pytest.raises(SystemExit):
        download.main(["hg39"])
    assert "invalid choice: 'hg39' (choose from 'tiny')" in capsys.readouterr().err


def test_the_help_says_what_there_is(servers, capsys):
    with pytest.raises(SystemExit):
        download.main(["--help"])
    assert "  tiny         tiny1: a tiny genome" in capsys.readouterr().out


original = download.fetch
