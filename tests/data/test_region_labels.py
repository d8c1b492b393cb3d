"""Labels of regions by their names, from a table."""

from pathlib import Path

import pytest

from dnamamba import UserError, get_alphabet
from dnamamba.data.examples import Collector, from_regions, labels_of_regions
from dnamamba.data.regions import RegionsConfig

BED = "one\t0\t4\ta\t0\t+\none\t4\t8\tb\t0\t-\none\t8\t12\tc\t0\t+\n"


@pytest.fixture
def read(tmp_path: Path):
    (tmp_path / "g.fa").write_text(">one\nACGTTTGGCCCA\n")
    (tmp_path / "r.bed").write_text(BED)

    def read(table: str) -> tuple[Collector, list[str]]:
        (tmp_path / "t.csv").write_text(table)
        into = Collector(get_alphabet("dna"))
        labels = labels_of_regions(tmp_path / "t.csv", {"id": "gene"}, into)
        return into, from_regions(tmp_path / "g.fa", tmp_path / "r.bed", RegionsConfig(), into, labels)

    return read


def test_regions_without_label_are_left_out_and_counted(read, tmp_path: Path) -> None:
    into, notes = read("gene,label\nc,high\nb,low\nx,high\ny,low\n")
    found = into.examples()
    assert (found.names, found.labels) == (["b", "c"], ["low", "high"])
    assert notes == [
        f"1 regions left out, without a label in {tmp_path}/t.csv: the first is 'a'",
        f"2 labels of {tmp_path}/t.csv have no region: the first is 'x'",
    ]


@pytest.mark.parametrize(
    ("file", "rows", "how", "names"),
    [
        (
            "a.gff3",
            "one\tx\tgene\t5\t8\t.\t-\t.\tID=g1;Name=ATM1;kind=low\n",
            RegionsConfig(feature="gene", name="Name", label="kind"),
            ["ATM1"],
        ),
        (
            "a.gff3",
            "one\tx\tgene\t5\t8\t.\t-\t.\tID=g1;Name=ATM1;kind=low\n",
            RegionsConfig(feature="gene", label="kind"),
            ["one:4-8(-)"],
        ),
        ("r.bed", BED, RegionsConfig(name="4"), ["a", "b", "c"]),
        ("r.bed", BED, RegionsConfig(), ["one:0-4(+)", "one:4-8(-)", "one:8-12(+)"]),
    ],
)
def test_a_region_is_called_by_its_name_only_where_names_are_said(
    tmp_path: Path, file: str, rows: str, how: RegionsConfig, names: list[str]
) -> None:
    (tmp_path / "g.fa").write_text(">one\nACGTTTGGCCCA\n")
    (tmp_path / file).write_text(rows)
    into = Collector(get_alphabet("dna"))
    from_regions(tmp_path / "g.fa", tmp_path / file, how, into)
    assert into.examples().names == names


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            "gene,label\nx,1\n",
            r"data\.labels: no id of \S+ names a region \(got 'x', and 'a' in .*data\.regions\.name",
        ),
        ("gene,label\na,1\na,2\n", r"t\.csv, line 3: id 'a' is there twice; give each region one label"),
    ],
)
def test_a_table_that_does_not_fit_is_one_line(read, table: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read(table)
