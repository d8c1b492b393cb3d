"""Gene models of GFF3, GTF and BED: names, strands and parts by hand."""

from pathlib import Path

import pytest

from dnamamba.data.gene_models import GeneModel, gene_models
from dnamamba.data.intervals import Interval

REGION = Interval("chr1", 0, 100)
GFF = """\
chr1\t.\tgene\t11\t50\t.\t-\t.\tID=g1;Name=one
chr1\t.\tmRNA\t11\t50\t.\t-\t.\tID=t1;Parent=g1
chr1\t.\texon\t11\t20\t.\t-\t.\tParent=t1
chr1\t.\texon\t31\t50\t.\t-\t.\tParent=t1
chr1\t.\tCDS\t14\t20\t.\t-\t0\tParent=t1
chr1\t.\tCDS\t31\t40\t.\t-\t0\tParent=t1
chr1\t.\tmRNA\t11\t50\t.\t-\t.\tID=t2;Parent=g1
chr1\t.\tCDS\t14\t16\t.\t-\t0\tParent=t2
chr1\t.\tgene\t61\t70\t.\t+\t.\tID=g2
chr2\t.\tgene\t1\t5\t.\t+\t.\tID=g3
"""
GTF = """\
1\t.\texon\t11\t20\t.\t+\t.\tgene_id "g1"; transcript_id "t1"; gene_name "one";
1\t.\texon\t31\t50\t.\t+\t.\tgene_id "g1"; transcript_id "t1"; gene_name "one";
"""
BED = "chr1\t5\t40\tone\t0\t+\t8\t35\t0\t2\t10,10,\t0,25,\nchr1\t50\t60\nchr1\t200\t210\tfar\n"
NO_CODING = "chr1\t5\t40\tone\t0\t+\t5\t5\t0\t2\t10,10\t0,25\n"


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        (
            "a.gff3",
            GFF,
            [
                GeneModel("one", 10, 50, "-", ((13, 20), (30, 40))),
                GeneModel("g2", 60, 70, "+", ((60, 70),)),
            ],
        ),
        ("a.gtf", GTF, [GeneModel("one", 10, 50, "+", ((10, 20), (30, 50)))]),
        (
            "a.bed",
            BED,
            [GeneModel("one", 5, 40, "+", ((8, 15), (30, 35))), GeneModel("", 50, 60, ".", ((50, 60),))],
        ),
        ("b.bed", NO_CODING, [GeneModel("one", 5, 40, "+", ((5, 15), (30, 40)))]),
    ],
)
def test_genes_of_region_are_those_of_file(
    name: str, content: str, expected: list[GeneModel], tmp_path: Path
) -> None:
    (tmp_path / name).write_text(content)
    assert gene_models(tmp_path / name, REGION) == expected


def test_region_within_an_intron_has_its_gene(tmp_path: Path) -> None:
    (tmp_path / "a.gff3").write_text(GFF)
    assert [gene.name for gene in gene_models(tmp_path / "a.gff3", Interval("chr1", 22, 28))] == ["one"]
