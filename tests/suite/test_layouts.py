"""Suites over files in their published layouts, tiny ones written here: what is read, and what is refused."""

import csv
import gzip
from pathlib import Path

import numpy as np
import openpyxl
import pyarrow
import pyarrow.parquet
import pytest

from dnamamba import UserError
from dnamamba.data.alphabet import get_alphabet
from dnamamba.data.examples import Collector
from dnamamba.datasets.base import filled
from dnamamba.suite import Suite, find_suite
from dnamamba.suite.base import check_choice
from dnamamba.suite.brca1 import COLUMNS, TABLE, exons_of, read_measured
from dnamamba.suite.loci import Change
from dnamamba.suite.mave import BINS, CODONS, FOLDER
from dnamamba.suite.mpra import read_elements
from dnamamba.suite.rows import RowsConfig
from dnamamba.suite.species import APES

RECORDS = [("train", "a", "ACGTA", "0"), ("train", "b", "TTTTG", "1"), ("test", "c", "ACGTT", "1")]
RECORDS += [("train", f"t{i}", f"{'ACGT'[i % 4] * 5}{'ACGT'[i // 4] * 3}", str(i % 2)) for i in range(12)]


def read(suite: Suite) -> Collector:
    collector = Collector(get_alphabet("dna"))
    config = suite.data()
    assert isinstance(config, RowsConfig)
    config.collect(collector)
    return collector


def held(found: Collector) -> set[tuple[str, str, str]]:
    """Split as the files have it, letters and label of every sequence."""
    examples = found.examples()
    assert examples.splits is not None
    letters = [found.alphabet.decode(examples[i]) for i in range(len(examples))]
    return set(zip(examples.splits, letters, examples.labels, strict=True))


def expected() -> set[tuple[str, str, str]]:
    return {(split, letters, label) for split, _, letters, label in RECORDS}


def test_genomic_benchmarks_reads_one_file_per_sequence(tmp_path: Path) -> None:
    for split, name, letters, label in RECORDS:
        folder = tmp_path / "human_ocr_ensembl" / split / label
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.txt").write_text(letters)
    suite = find_suite("genomic_benchmarks", "human_ocr_ensembl", tmp_path)
    assert held(read(suite)) == expected()
    assert read(find_suite("genomic_benchmarks", "human_ocr_ensembl", tmp_path, 8)).notes[0] == (
        "train: 8 of 14 sequences are read"
    )
    with pytest.raises(UserError, match=r"human_or_worm/train: there is no such folder; fetch"):
        read(find_suite("genomic_benchmarks", "demo_human_or_worm", tmp_path))


@pytest.mark.parametrize("suffix", [".fna", ".parquet"])
def test_nt_tasks_read_headers_and_parquet_alike(tmp_path: Path, suffix: str) -> None:
    folder = tmp_path / "H3"
    folder.mkdir()
    for split in ("train", "test"):
        rows = [row[1:] for row in RECORDS if row[0] == split]
        if suffix == ".fna":
            text = "".join(f">{name}|x|{label}\n{s[:3]}\n{s[3:]}\n" for name, s, label in rows)
            (folder / f"{split}.fna").write_text(text)
        else:
            names, sequences, labels = zip(*rows, strict=True)
            table = {
                "name": names,
                "sequence": sequences,
                "label": list(map(int, labels)),
                "task": ["H3"] * len(rows),
            }
            pyarrow.parquet.write_table(pyarrow.table(table), folder / f"{split}.parquet")
    assert held(read(find_suite("nt_tasks", "H3", tmp_path))) == expected()


def test_nt_header_without_label_names_its_record(tmp_path: Path) -> None:
    (tmp_path / "H4").mkdir()
    (tmp_path / "H4" / "train.fna").write_text(">a|1\nACGT\n>b\nACGT\n")
    with pytest.raises(UserError, match=r"train\.fna, record 2: expected a header name\|label \(got 'b'\)"):
        read(find_suite("nt_tasks", "H4", tmp_path))


def write_mave(folder: Path, task: str, rows: list[dict[str, object]]) -> None:
    path = folder / FOLDER / f"{task}_data.csv.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def test_mave_number_is_the_mean_bin_or_y(tmp_path: Path) -> None:
    sets = ("training", "validation", "test", "training")
    counts = dict.fromkeys(BINS, 0)
    sorted_cells = [
        {"set": kind, **counts, "ct_2": 1 + i, "ct_7": 3, "x": "ACGU"[i] * 6} for i, kind in enumerate(sets)
    ]
    write_mave(tmp_path, "sortseq", sorted_cells)
    data = read(find_suite("mave", "sortseq", tmp_path))
    # 1, 2, 3 and 4 reads in bin 2, three in bin 7.
    means = {(2 * k + 21) / (k + 3) for k in (1, 2, 3, 4)}
    assert {float(label) for _, _, label in held(data)} == means
    assert [split for split, letters, _ in held(data) if letters == "TTTTTT"] == ["train"]
    write_mave(
        tmp_path, "gb1", [{"set": kind, "y": i / 8, "x": "MQ*"[: 2 + i % 2]} for i, kind in enumerate(sets)]
    )
    found = held(read(find_suite("mave", "gb1", tmp_path)))
    assert ("train", "ATGCAG", "0.0") in found
    assert ("valid", "ATGCAGTGA", "0.125") in found
    assert len(set(CODONS.values())) == 21


def test_mave_with_other_letters_names_the_file(tmp_path: Path) -> None:
    write_mave(tmp_path, "gb1", [{"set": "test", "y": 1, "x": "MJ"}])
    with pytest.raises(
        UserError, match=r"gb1_data\.csv\.gz: expected a data file of mavenn 1\.1\.4 \(KeyError"
    ):
        read(find_suite("mave", "gb1", tmp_path))


def write_brca1(folder: Path) -> None:
    """Two exons of 12 bases; the third base of the second one was not measured."""
    path = folder / TABLE
    path.parent.mkdir(parents=True, exist_ok=True)
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.append(["Variant ID"])
    sheet.append(["raw"])
    sheet.append(["gene", *COLUMNS])
    for place, ref in [*enumerate("ACGTACGTACGT", 1001), *enumerate("TTGACCATTGAC", 2001)]:
        for number, alt in enumerate("ACGT"):
            if alt != ref and place != 2003:
                kind = ("LOF", "INT", "FUNC")[(place + number) % 3]
                sheet.append(["BRCA1", place, ref, alt, kind, 0.5 * number, "NA" if place == 1001 else place])
    book.save(path)


def test_brca1_exons_are_what_the_table_spells(tmp_path: Path) -> None:
    write_brca1(tmp_path)
    rows = read_measured(tmp_path / TABLE)
    assert len(rows) == 23 * 3
    assert [row.lost for row in rows[:3]] == [True, False, False]
    assert np.isnan(rows[0].phylop)
    exons, (first, last) = exons_of(rows, [Change("17", 1002, "C", "G"), Change("17", 2012, "C", "T")])
    assert exons == {"exon_1": "ACGTACGTACGT", "exon_2": "TTNACCATTGAC"}
    assert (first, last) == (Change("exon_1", 2, "C", "G"), Change("exon_2", 12, "C", "T"))


MPRA = """Chrom Pos Ref Alt Barcodes DNA RNA Coefficient pValue Element Release
1 100 A C 10 1 1 0.5 0.1 ONE GRCh38
1 100 A - 99 1 1 0.9 0.1 ONE GRCh38
1 101 G T 9 1 1 0.7 0.1 ONE GRCh38
1 103 T A 12 1 1 -0.25 0.1 ONE GRCh38
1 103 T A 12 1 1 -0.75 0.1 TWO GRCh38
NA NA NA NA 12 1 1 -0.75 0.1 TWO GRCh38
2 500 C G 12 1 1 0.125 0.1 TWO GRCh38
1 90 C G 12 1 1 0.125 0.1 ONE GRCh37
"""


def test_mpra_keeps_changes_with_ten_tags(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "elements.tsv.gz", "wt") as file:
        file.write(MPRA.replace(" ", "\t"))
    elements, experiments = read_elements(tmp_path / "elements.tsv.gz")
    assert elements == {"1:100": "AGNT", "2:500": "C"}
    assert experiments["ONE"][0] == [Change("1:100", 1, "A", "C"), Change("1:100", 4, "T", "A")]
    assert experiments["ONE"][1].tolist() == [0.5, -0.25]
    assert experiments["TWO"][0] == [Change("1:100", 4, "T", "A"), Change("2:500", 1, "C", "G")]


def test_mammals_train_on_one_region_and_test_on_another(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    suite = find_suite("mammals", "2p10", tmp_path)
    for source in suite.sources:
        path = tmp_path / source.path
        path.parent.mkdir(parents=True, exist_ok=True)
        # The region that tests has no A.
        letters = "CGT" if "ENm002" in source.path else "ACGT"
        # Two records of one name up to the first blank, as in the published file of the opossum.
        whole = "".join(rng.choice(list(letters), 36_000))
        path.write_text(
            f">{path.stem}|Broad Inst. 1\n{whole[:24_000]}\n>{path.stem}|Broad Inst. 2\n{whole[24_000:]}\n"
        )
    with pytest.raises(UserError, match="SHA-256 must be"):
        suite.verified()
    data = filled(suite.data(), "dna").build(0, global_batch_size=64, max_steps=1, world_size=1)
    for split, per_species in (("valid", 60), ("test", 300)):
        batches = list(dict(data.held_out_loaders())[split])
        labels = np.concatenate([batch["labels"].numpy() for batch in batches])
        tokens = np.concatenate([batch["tokens"].numpy() for batch in batches])
        assert np.bincount(labels).tolist() == [per_species] * 5
        assert tokens.shape[1] == 1024
        assert bool((tokens == 0).any()) is (split == "valid")


def test_great_apes_name_their_files(tmp_path: Path) -> None:
    config = find_suite("great_apes", "2p12", tmp_path).data()
    assert config.max_length == 4096
    assert config.species == {name: str(tmp_path / f"{name}.fa") for name in APES}


def test_choices_that_a_suite_lacks_are_one_line() -> None:
    for match, suite in (
        (r"task: brca1 has genome, exons \(got None\); name one", find_suite("brca1")),
        (r"task: brca1 has genome, exons \(got x\)", find_suite("brca1", "x")),
        (r"task: yeast_bits is one data set \(got x\)", find_suite("yeast_bits", "x")),
        (r"examples: must be at least 1 \(got 0\)", find_suite("mpra", examples=0)),
        (
            r"files: the data of yeast_bits come with the package \(got x\)",
            find_suite("yeast_bits", files="x"),
        ),
        (r"examples: yeast_coding is read whole \(got 5\)", find_suite("yeast_coding", examples=5)),
    ):
        with pytest.raises(UserError, match=match) as error:
            check_choice(suite)
        assert "\n" not in str(error.value)
