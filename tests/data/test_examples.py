"""Every way of giving labelled sequences, against the sequences that were written; and what is refused."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dnamamba import UserError, get_alphabet
from dnamamba.data import examples
from dnamamba.data.examples import Collector, Examples
from dnamamba.data.regions import AS_THEY_ARE

DNA = get_alphabet("dna")
SEQUENCES = st.lists(st.text(alphabet="ACGTNacgtRYu", min_size=1, max_size=30), min_size=1, max_size=5)
QUICK = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)


def read(reader: Callable[[Collector], None], alphabet: str = "dna", needs_label: bool = True) -> Examples:
    collector = Collector(get_alphabet(alphabet))
    reader(collector)
    return collector.examples(needs_label=needs_label)


def fasta(path: Path, records: dict[str, str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f">{name}\n{bases}\n" for name, bases in records.items()))
    return path


def letters(found: Examples) -> list[str]:
    return [DNA.decode(found[number]) for number in range(len(found))]


def expected(sequences: list[str]) -> list[str]:
    return [DNA.decode(DNA.encode(sequence)) for sequence in sequences]


@QUICK
@given(first=SEQUENCES, second=SEQUENCES)
def test_every_source_gives_the_same_sequences(
    tmp_path_factory: pytest.TempPathFactory, first: list[str], second: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("data")
    sequences, labels = first + second, ["a"] * len(first) + ["b"] * len(second)
    names = [f"s{number}" for number in range(len(sequences))]
    records = dict(zip(names, sequences, strict=True))
    halves = dict(list(records.items())[: len(first)]), dict(list(records.items())[len(first) :])
    for label, half in zip("ab", halves, strict=True):
        fasta(folder / "folders" / label / "x.fa", half)
        fasta(folder / "files" / f"{label}.fasta", half)
    together = fasta(folder / "all.fa", records)
    table = folder / "labels.tsv"
    rows = [f"{label}\t{name}\n" for name, label in zip(names, labels, strict=True)]
    table.write_text("label\tid\n" + "".join(reversed(rows)))
    listed = folder / "table.csv"
    listed.write_text(
        "id,sequence,label\n"
        + "".join(f"{n},{s},{x}\n" for n, s, x in zip(names, sequences, labels, strict=True))
    )
    files = {label: [folder / "files" / f"{label}.fasta"] for label in "ab"}
    for reader in (
        lambda into: examples.from_folder(folder / "folders", into),
        lambda into: examples.from_folder(folder / "files", into),
        lambda into: examples.from_classes(files, into),
        lambda into: examples.from_label_table(together, table, {}, into),
        lambda into: examples.from_table(listed, {}, into),
    ):
        found = read(reader)
        assert letters(found) == expected(sequences)
        assert found.labels == labels
        assert found.names == names
        assert found.lengths.tolist() == [len(sequence) for sequence in sequences]


@QUICK
@given(data=st.data())
def test_intervals_of_a_genome(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("data")
    records = {name: data.draw(st.text("ACGTN", min_size=2, max_size=60)) for name in ("chr1", "chr2")}
    rows, wanted = [], []
    for _ in range(data.draw(st.integers(1, 5))):
        name = data.draw(st.sampled_from(sorted(records)))
        start = data.draw(st.integers(0, len(records[name]) - 1))
        end = data.draw(st.integers(start + 1, len(records[name])))
        strand = data.draw(st.sampled_from("+-."))
        part = records[name][start:end]
        if strand == "-":
            part = part[::-1].translate(str.maketrans("ACGT", "TGCA"))
        rows.append(f"{name}\t{start}\t{end}\tlabel{strand}\t0\t{strand}\n")
        wanted.append((part, f"label{strand}", name))
    bed = folder / "b.bed"
    bed.write_text("# a comment\n" + "".join(rows))
    found = read(lambda into: examples.from_regions(fasta(folder / "g.fa", records), bed, AS_THEY_ARE, into))
    assert found.groups is not None
    assert list(zip(letters(found), found.labels, found.groups, strict=True)) == wanted


def test_a_folder_of_splits(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        for label in ("a", "b"):
            fasta(tmp_path / split / label / "one.fa", {f"{split}_{label}": "ACGT"})
    found = read(lambda into: examples.from_folder(tmp_path, into))
    assert found.splits == ["test", "test", "train", "train", "val", "val"]
    assert found.labels == ["a", "b"] * 3
    fasta(tmp_path / "other" / "x.fa", {"x": "ACGT"})
    found = read(lambda into: examples.from_folder(tmp_path / "train", into))
    assert found.splits is None


def test_the_bytes_alphabet_keeps_every_letter(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("sequence,label\nMEEPqs*,a\n")
    found = read(lambda into: examples.from_table(path, {}, into), "bytes")
    assert found[0].tobytes() == b"MEEPqs*"


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def table(folder: Path, text: str) -> Callable[[Collector], None]:
    path = write(folder / "t.csv", text)
    return lambda into: examples.from_table(path, {}, into)


def labelled(folder: Path, labels: str) -> Callable[[Collector], None]:
    records = fasta(folder / "s.fa", {"one": "ACGT", "two": "GGGG"})
    path = write(folder / "l.tsv", labels)
    return lambda into: examples.from_label_table(records, path, {}, into)


def bed(folder: Path, text: str) -> Callable[[Collector], None]:
    records = fasta(folder / "g.fa", {"chr1": "ACGTACGT"})
    path = write(folder / "b.bed", text)
    return lambda into: examples.from_regions(records, path, AS_THEY_ARE, into)


def from_folder(folder: Path, name: str) -> Callable[[Collector], None]:
    return lambda into: examples.from_folder(folder / name, into)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda d: table(d, "sequence,label\nACGT,a\nAEGF,a\nEEEE,b\n"),
            "6 letter(s) in 2 sequence(s) are not nucleotide codes, the first is 'E' at position 2 of "
            "{d}/t.csv, line 3",
        ),
        (
            lambda d: table(d, "sequence,label\nACGT,a\n,a\n,b\n"),
            "2 empty sequence(s), the first is {d}/t.csv, line 3",
        ),
        (
            lambda d: table(d, "sequence,label\nACGT,a\nAC,\n"),
            "1 sequence(s) with no label, the first is {d}/t.csv, line 3",
        ),
        (
            lambda d: table(d, "sequence,label\nAC\u03b3T,a\n"),
            "{d}/t.csv, line 2: '\u03b3' at position 3 is not a base",
        ),
        (
            lambda d: labelled(d, "id\tlabel\none\ta\ntwo\tb\nthree\tb\nfour\ta\n"),
            "{d}/l.tsv: 2 label(s) with no sequence in {d}/s.fa, the first is 'three' on line 4",
        ),
        (
            lambda d: labelled(d, "id\tlabel\none\ta\n"),
            "{d}/s.fa: 1 sequence(s) with no label in {d}/l.tsv, the first is 'two'",
        ),
        (
            lambda d: labelled(d, "id\tlabel\none\ta\ntwo\tb\none\tb\n"),
            "{d}/l.tsv, line 4: id 'one' was on line 2 already",
        ),
        (
            lambda d: labelled(d, "id\tlabel\none\ta\ntwo\t\n"),
            "1 sequence(s) with no label, the first is {d}/s.fa, record two",
        ),
        (lambda d: bed(d, "chr2\t0\t4\ta\n"), "{d}/b.bed, row 1: {d}/g.fa has no record 'chr2'"),
        (
            lambda d: bed(d, "chr1\t0\t9\ta\n"),
            "{d}/b.bed, row 1: ends at 9, but record chr1 of {d}/g.fa has 8",
        ),
        (
            lambda d: bed(d, "chr1\t0\t4\ta\t0\t*\n"),
            "{d}/b.bed, row 1: the strand must be +, - or . (got '*')",
        ),
        (lambda d: bed(d, "chr1\t0\t4\n"), "1 sequence(s) with no label, the first is {d}/b.bed, row 1"),
        (lambda d: bed(d, "# nothing\n"), "{d}/b.bed: no regions"),
        (lambda d: from_folder(d, "none"), "data.folder: {d}/none is not a folder"),
        (lambda d: from_folder(d, "."), "{d}: neither folders nor FASTA files"),
        (
            lambda d: (d / "a").mkdir() or (write(d / "a" / "x.txt", "x") and from_folder(d, ".")),
            "{d}/a: a class with no FASTA file",
        ),
    ],
)
def test_mistake_is_one_line_that_names_it(
    tmp_path: Path, make: Callable[[Path], Callable[[Collector], None]], message: str
) -> None:
    reader = make(tmp_path)
    with pytest.raises(UserError) as error:
        read(reader)
    assert message.format(d=tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


def test_labels_are_optional_where_none_is_asked_for(tmp_path: Path) -> None:
    found = read(table(tmp_path, "sequence,label\nACGT,\n"), needs_label=False)
    assert found.labels == [""]
    assert np.array_equal(found[0], DNA.encode("ACGT"))
