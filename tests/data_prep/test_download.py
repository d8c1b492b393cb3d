import gzip
import hashlib
import os
import sys
from urllib.parse import urlsplit

import pytest

from data_prep import download, sources
from data_prep.lock import LOCK_NAME
from dnamamba.commands import entry

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
        "tiny.bed.sha256",
        "tiny.chromosomes.tsv",
        "tiny.chromosomes.tsv.sha256",
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
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    for name in ("tiny.bed", "tiny.chromosomes.tsv"):
        (folder / name).write_bytes(whole[name].replace(b"chr1", b"chr3"))
    assert download.main(["tiny", "--out", str(tmp_path / "genomes")]) == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == whole


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


def test_files_brought_from_elsewhere_are_verified_and_prepared(servers, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(download, "LIST_OF", {urlsplit(servers[1].url).netloc: "md5sum.txt"})
    assert download.main(["tiny", "--out", str(tmp_path), "--list"]) == 0
    folder, printed = tmp_path / "tiny", capsys.readouterr().out
    assert not folder.exists()
    for said in (
        f"  {folder}/one.fa.gz\n    from      {servers[0].url}/one.fa.gz\n",
        f"    size      {len(FASTA):,} bytes\n",
        f"  {folder}/md5sum.txt\n    from      {servers[1].url}/md5sum.txt, by which the file is verified",
    ):
        assert said in printed
    folder.mkdir()
    (folder / "one.fa.gz").write_bytes(FASTA)
    (folder / "sequences.bed").write_bytes(BED[:-1])
    (folder / "md5sum.txt").write_text(f"{hashlib.md5(BED).hexdigest()}  ./sequences.bed\n")
    assert download.main(["tiny", "--out", str(tmp_path)]) == 1
    assert f"is in {folder}/md5sum.txt; delete it to download it again" in capsys.readouterr().err
    (folder / "sequences.bed").write_bytes(BED)
    assert download.main(["tiny", "--out", str(tmp_path)]) == 0
    assert (folder / "tiny.bed").read_text().startswith("chr1\t0\t5\ttrain\n")
    assert [server.requests for server in servers] == [[], []]


def test_every_published_file_is_listed(capsys):
    assert download.main(["--list"]) == 0
    printed = capsys.readouterr().out
    for source in sources.load_sources().values():
        for file in source.files:
            assert f"genomes/{source.name}/{file.name}\n    from      {file.url}\n" in printed
            for known in filter(None, (file.md5, file.sha256)):
                assert known in printed


def test_prepare_is_a_command_of_dnamamba(servers, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["dnamamba", "prepare"])
    with pytest.raises(SystemExit) as stop:
        entry.main()
    assert (stop.value.code, capsys.readouterr().err) == (
        1,
        "error: NAME: must be given; it is one of tiny\n",
    )


def test_a_failed_download_leaves_no_folder(servers, tmp_path, capsys):
    servers[0].script = [404]
    assert download.main(["tiny", "--out", str(tmp_path / "new")]) == 1
    assert not (tmp_path / "new").exists()


def test_an_unknown_genome_lists_the_known(servers, capsys):
    with pytest.raises(SystemExit):
        download.main(["hg39"])
    assert "invalid choice: 'hg39' (choose from 'tiny')" in capsys.readouterr().err


def test_the_help_says_what_there_is(servers, capsys):
    with pytest.raises(SystemExit):
        download.main(["--help"])
    assert "  tiny         tiny1: a tiny genome" in capsys.readouterr().out


original = download.fetch
