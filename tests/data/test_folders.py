"""Folders of labelled sequences: every file is of a class, or named; names keep their dots."""

import bz2
import gzip
from pathlib import Path

import pytest

from dnamamba import UserError, get_alphabet
from dnamamba.data.examples import Collector, Examples, from_classes, from_folder
from dnamamba.data.folders import FASTA_SUFFIXES, stem_of
from dnamamba.data.partition import assign, sequence_keys

FASTA = b">s\nACGTTGCA\n"


def put(folder: Path, *names: str, content: bytes = FASTA) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)


def read(folder: Path) -> Examples:
    collector = Collector(get_alphabet("dna"))
    from_folder(folder, collector)
    return collector.examples()


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("E.coli.fa", "E.coli"),
        ("E.fergusonii.fa.gz", "E.fergusonii"),
        ("GRCh38.p14.FNA.BGZ", "GRCh38.p14"),
        ("a.b.c.fasta.zst", "a.b.c"),
        ("v1.2", "v1.2"),
        ("plain.fsa", "plain"),
        ("a.fa.fa", "a.fa"),
        ("x.gz", "x"),
    ],
)
def test_a_name_loses_known_suffixes_only(name: str, stem: str) -> None:
    assert stem_of(Path("some.folder") / name) == stem


def test_files_of_similar_names_are_separate_classes(tmp_path: Path) -> None:
    put(
        tmp_path,
        "E.coli.fa",
        "E.fergusonii.fa.gz",
        "S.aureus.fna",
        "S.aureus/part.1.fa",
        "S.aureus/part.2.fa",
    )
    found = read(tmp_path)
    assert found.labels == ["E.coli", "E.fergusonii", "S.aureus", "S.aureus", "S.aureus"]
    assert found.groups == ["E.coli", "E.fergusonii", "part.1", "part.2", "S.aureus"]


@pytest.mark.parametrize("suffix", [*FASTA_SUFFIXES, ".FA", ".fa.gz", ".Fsa.GZ"])
def test_every_suffix_of_fasta_is_read(tmp_path: Path, suffix: str) -> None:
    put(tmp_path, "a.fa", "b/x.fa")
    content = gzip.compress(FASTA, mtime=0) if suffix.lower().endswith("gz") else FASTA
    (tmp_path / f"other{suffix}").write_bytes(content)
    (tmp_path / "b" / f"y{suffix}").write_bytes(content)
    assert sorted(read(tmp_path).labels) == ["a", "b", "b", "other"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("other.fna.bz2", bz2.compress(FASTA), "other.fna.bz2 is compressed with bzip2"),
        ("other.bz2", bz2.compress(FASTA), "other.bz2: not a FASTA file .* but compressed with bzip2"),
        (
            "other.seq",
            FASTA,
            r"other\.seq: FASTA by another name; rename it so that it ends in one of \.fa, ",
        ),
        ("other.txt", b"\xef\xbb\xbf\n" + FASTA, r"other\.txt: FASTA by another name"),
        ("other.txt.gz", gzip.compress(FASTA, mtime=0), r"other\.txt\.gz: FASTA by another name"),
        ("other", FASTA, "other: FASTA by another name"),
        ("other.gb", b"LOCUS", r"other\.gb: not a FASTA file .* something else, and would be left out"),
    ],
)
@pytest.mark.parametrize("within", ["", "b/"])
def test_what_would_be_left_out_is_named(
    tmp_path: Path, name: str, content: bytes, message: str, within: str
) -> None:
    put(tmp_path, "a.fa", "b/x.fa")
    (tmp_path / within / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        read(tmp_path)
    assert "\n" not in str(error.value)


def test_usual_neighbours_of_fasta_are_passed_over(tmp_path: Path) -> None:
    put(tmp_path, "a.fa", "b/x.fa")
    beside = ("a.fa.fai", "README.md", "LICENSE", "labels.csv", "b/x.fa.fai", "b/notes.txt", ".DS_Store")
    put(tmp_path, *beside, content=b"x\t1\n")
    assert read(tmp_path).labels == ["a", "b"]


@pytest.mark.parametrize(
    "names", [("Train", "Val", "Test"), ("TRAINING", "dev", "testing"), ("train", "Valid")]
)
def test_folders_of_splits_are_known_in_any_case(tmp_path: Path, names: tuple[str, ...]) -> None:
    for split in names:
        put(tmp_path / split, "at.fa", "gc/x.fa", content=f">{split}\nACGT{'A' * len(split)}\n".encode())
    found = read(tmp_path)
    assert sorted(set(found.labels)) == ["at", "gc"]
    assert found.splits == [split for split in sorted(names) for _ in range(2)]
    if len(names) == 3:
        options = {"valid": None, "test": None, "valid_fraction": 0.1, "test_fraction": 0.1}
        numbers = assign(found, sequence_keys(found, get_alphabet("dna")), **options).numbers
        expected = {name: number for number, name in enumerate(names)}
        assert numbers.tolist() == [expected[split] for split in found.splits]


@pytest.mark.parametrize("stray", ["extra/x.fa", "extra.fa"])
def test_files_next_to_split_folders_are_named(tmp_path: Path, stray: str) -> None:
    put(tmp_path, "Train/a.fa", "Test/a.fa", stray)
    with pytest.raises(
        UserError, match=rf"{stray.split('/')[0]}: lies next to Test, Train, which are splits"
    ):
        read(tmp_path)


def test_class_called_like_a_split_is_a_class(tmp_path: Path) -> None:
    put(tmp_path, "dev/x.fa", "adult/x.fa")
    assert read(tmp_path).labels == ["adult", "dev"]


def test_a_folder_within_a_class_is_named(tmp_path: Path) -> None:
    put(tmp_path, "a/x.fa", "b/x.fa", "b/more/y.fa")
    with pytest.raises(UserError, match="b/more: a folder within a class is not read"):
        read(tmp_path)


def test_name_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "a.fa")
    (tmp_path / "b\udcff.fa").write_bytes(FASTA)
    with pytest.raises(UserError, match=r"b\\udcff\.fa: the name is not UTF-8"):
        read(tmp_path)


def test_groups_of_given_files_keep_their_dots(tmp_path: Path) -> None:
    put(tmp_path, "chr1.part.fa", "chr1.rest.fa")
    collector = Collector(get_alphabet("dna"))
    from_classes({"x": [tmp_path / "chr1.part.fa", tmp_path / "chr1.rest.fa"]}, collector)
    assert collector.groups == ["chr1.part", "chr1.rest"]
