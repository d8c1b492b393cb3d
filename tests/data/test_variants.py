"""VCF files: what is read, and one line for every way in which a file can be wrong."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
from Bio import bgzf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dnamamba import UserError
from dnamamba.data.compression import writing
from dnamamba.data.variants import Vcf

HEADER = b"##fileformat=VCFv4.3\n##contig=<ID=1>\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
ROWS = [
    b"1\t10\trs1\tA\tC\t.\tPASS\t.\n",
    b"1\t10\t.\tAC\tA,<DEL>,ACC\t50\t.\tAC=1;DB\n",
    b"1\t12\t.\tg\t.\t.\t.\t.\n",
    b"2\t1\t.\tT\t*,G]1:5]\t.\t.\t.\n",
]


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write(text: bytes, kind: str = "plain") -> Path:
        path = tmp_path / ("variants.vcf" if kind == "plain" else "variants.vcf.gz")
        if kind == "gzip":
            path.write_bytes(gzip.compress(text))
        else:
            with writing(path) as file:
                file.write(text)
        return path

    return write


@pytest.mark.parametrize("kind", ["plain", "gzip", "bgzip"])
def test_rows_are_as_in_the_file(write: Callable[..., Path], kind: str) -> None:
    vcf = Vcf(write(HEADER + b"".join(ROWS), kind))
    assert b"".join(vcf.header) == HEADER
    assert vcf.names == [b"CHROM", b"POS", b"ID", b"REF", b"ALT", b"QUAL", b"FILTER", b"INFO"]
    for _ in range(2):
        rows = list(vcf.rows())
        assert [b"\t".join(row.columns) + row.end for row in rows] == ROWS
    assert [row.number for row in rows] == [4, 5, 6, 7]
    assert [(row.name, row.position, row.ref) for row in rows] == [
        ("1", 10, "A"),
        ("1", 10, "AC"),
        ("1", 12, "g"),
        ("2", 1, "T"),
    ]
    assert [row.alts for row in rows] == [["C"], ["A", None, "ACC"], [], [None, None]]


@pytest.mark.parametrize(
    ("alt", "alleles"),
    [
        ("R", ["R"]),
        ("A,ykn", ["A", "ykn"]),
        ("<DEL>,*", [None, None]),
        ("G.,.G,A[1:5[", [None] * 3),
        (".", []),
    ],
)
def test_letters_are_spelled_out_and_nothing_else_is(
    write: Callable[..., Path], alt: str, alleles: list[str | None]
) -> None:
    (row,) = Vcf(write(HEADER + f"1\t1\t.\tA\t{alt}\t.\t.\t.\n".encode())).rows()
    assert row.alts == alleles


def test_line_ends_and_samples_pass(write: Callable[..., Path]) -> None:
    header = HEADER.replace(b"INFO\n", b"INFO\tFORMAT\tme\r\n")
    (first, last) = Vcf(
        write(header + b"1\t1\t.\tA\tC\t.\t.\t.\tGT\t0/1\r\n1\t2\t.\tA\tC\t.\t.\t.\tGT\t0/1")
    ).rows()
    assert (first.columns[-1], first.end) == (b"0/1", b"\r\n")
    assert (last.columns[-1], last.end) == (b"0/1", b"\n")


def test_what_is_written_as_gz_is_bgzf(write: Callable[..., Path]) -> None:
    path = write(HEADER, "bgzip")
    with path.open("rb") as file:
        assert [block[3] for block in bgzf.BgzfBlocks(file)] == [len(HEADER), 0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "line 1: expected the columns #CHROM POS ID REF ALT QUAL FILTER INFO"),
        (b">chr1\nACGT\n", "is not a VCF file"),
        (b"BCF\2\2", "is a BCF file: bcftools view makes a VCF of it"),
        (b"##fileformat=VCFv4.3\n1\t1\t.\tA\tC\t.\t.\t.\n", "line 2: expected the columns #CHROM"),
        (b"##fileformat=VCFv4.3\n##source=x\n", "line 2: expected the columns #CHROM"),
        (HEADER + b"1\t10\trs1\tA", "line 4: 4 column(s), but the header names 8; is the file truncated?"),
        (HEADER + ROWS[0] + b"1\tten\t.\tA\tC\t.\t.\t.\n", "line 5: POS is 'ten', not a whole number"),
        (HEADER + b"1\t-1\t.\tA\tC\t.\t.\t.\n", "line 4: POS is '-1'"),
        (HEADER + b"1\t9\t.\t\tC\t.\t.\t.\n", "line 4: REF is '', not letters of bases"),
        (HEADER + b"1\t9\t.\tA\xe9\tC\t.\t.\t.\n", "line 4: REF is 'A\xe9'"),
        (HEADER + b"1\t9\t.\tA\t\t.\t.\t.\n", "line 4: ALT is empty"),
    ],
)
def test_what_is_not_a_vcf_is_one_line(write: Callable[..., Path], text: bytes, message: str) -> None:
    with pytest.raises(UserError) as error:
        list(Vcf(write(text)).rows())
    assert message in str(error.value)
    assert "variants.vcf" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["gzip", "bgzip"])
@pytest.mark.parametrize("damage", ["cut", "flip"])
def test_damage_is_one_line(write: Callable[..., Path], kind: str, damage: str) -> None:
    path = write(HEADER + b"".join(ROWS) * 3000, kind)
    data = bytearray(path.read_bytes())
    if damage == "cut":
        del data[len(data) // 2 :]
    else:
        data[len(data) // 2] ^= 0x55
    path.write_bytes(data)
    # Plain gzip has one checksum, at its end: before it, damaged lines come to light as such.
    damaged = "is (truncated|corrupt|truncated or corrupt): "
    if (kind, damage) == ("gzip", "flip"):
        damaged = f"({damaged}|line [0-9]+: )"
    with pytest.raises(UserError, match=rf"variants\.vcf\.gz,? {damaged}") as error:
        list(Vcf(path).rows())
    assert "\n" not in str(error.value)


def test_bgzf_without_its_end_is_truncated(write: Callable[..., Path]) -> None:
    path = write(HEADER + ROWS[0], "bgzip")
    path.write_bytes(path.read_bytes()[:-28])
    with pytest.raises(UserError, match="is truncated: the empty block that ends a BGZF file is missing"):
        Vcf(path)


@pytest.mark.parametrize("order", [[0, 3, 0], [2, 0]])
def test_order_matters_in_bgzf_alone(write: Callable[..., Path], order: list[int]) -> None:
    text = HEADER + b"".join(ROWS[i] for i in order)
    assert len(list(Vcf(write(text)).rows())) == len(order)
    with pytest.raises(UserError, match=rf"line {3 + len(order)}: 1:10 is out of order; sort the file"):
        list(Vcf(write(text, "bgzip")).rows())


def test_path_that_is_not_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent\.vcf: No such file"):
        Vcf(tmp_path / "absent.vcf")
    with pytest.raises(UserError, match="is a folder, not a VCF file"):
        Vcf(tmp_path)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=40) | st.sampled_from(ROWS), max_size=6), st.booleans())
def test_any_bytes_are_rows_or_one_line(tmp_path: Path, lines: list[bytes], headed: bool) -> None:
    path = tmp_path / "fuzz.vcf"
    path.write_bytes((HEADER if headed else b"") + b"\n".join(lines))
    try:
        rows = list(Vcf(path).rows())
    except UserError as error:
        assert "\n" not in str(error)  # noqa: PT017
        assert str(path) in str(error)  # noqa: PT017
    else:
        assert all(len(row.columns) == 8 and row.ref.isalpha() and row.position >= 0 for row in rows)
        assert all(alt is None or (alt.isascii() and alt.isalpha()) for row in rows for alt in row.alts)
