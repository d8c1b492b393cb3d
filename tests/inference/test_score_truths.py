"""What a VCF says of telomeres, symbolic alleles and shifted positions; and VCFs that come by a pipe."""

import gzip
import os
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dnamamba import Genome, UserError, get_alphabet
from dnamamba.data.variants import Vcf
from dnamamba.inference import score_vcf
from dnamamba.inference.score_vcf import check
from dnamamba.inference.vcf_rows import Records

HEADER = b"##fileformat=VCFv4.3\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
LENGTH = 300
LETTERS = "".join(np.random.default_rng(3).choice(list("ACGT"), LENGTH - 20)) + "N" * 20


@pytest.fixture
def genome(tmp_path: Path) -> Genome:
    (tmp_path / "g.fa").write_text(f">one\n{LETTERS}\n")
    return Genome(tmp_path / "g.fa", get_alphabet("dna"))


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write(*rows: tuple[int, str, str]) -> Path:
        path = tmp_path / "in.vcf"
        lines = [f"one\t{position}\t.\t{ref}\t{alt}\t.\t.\t.\n".encode() for position, ref, alt in rows]
        path.write_bytes(HEADER + b"".join(lines))
        return path

    return write


A, C = LETTERS[9], LETTERS[10]  # bases 10 and 11
WRONG = "ACGT"["ACGT".index(A) - 1]


@pytest.mark.parametrize(
    ("position", "ref", "alt", "reasons"),
    [
        (0, "N", ".", ["unknown_base"]),
        (0, "N", "<DEL>", ["symbolic"]),
        (0, "N", "N[one:5[", ["symbolic"]),
        (0, "A", "C", ["unknown_base"]),
        (LENGTH + 1, "N", "]one:5]N", ["symbolic"]),
        (LENGTH + 1, "N", "A", ["unknown_base"]),
        (LENGTH + 2, "N", "<DEL>", ["ref_mismatch"]),
        (10, "N", "<DEL>", ["symbolic"]),
        (10, "N", "<DEL>,A", ["symbolic", "unknown_base"]),
        (LENGTH - 3, "N", "<DUP>", ["symbolic"]),
        (10, WRONG, "<DEL>", ["ref_mismatch"]),
        (10, A, "<DEL>,*,R,n", ["symbolic", "symbolic", "unknown_base", "unknown_base"]),
        (10, A, "R", ["unknown_base"]),
        (10, A, f"{A}{A}", [None]),
    ],
)
def test_each_place_and_allele_has_its_own_reason(
    genome: Genome,
    write: Callable[..., Path],
    position: int,
    ref: str,
    alt: str,
    reasons: list[str | None],
) -> None:
    (row,) = Vcf(write((position, ref, alt))).rows()
    problems = Records(genome).plan(row, "line 3").problems
    assert [problem and problem.reason for problem in problems] == reasons


def test_telomeres_do_not_mean_another_assembly(genome: Genome, write: Callable[..., Path]) -> None:
    rows = [(0, "N", "<DEL>")] * 60 + [(LENGTH + 1, "N", ".")] * 60
    checked = check(Vcf(write(*rows)), Records(genome), pytest.fail)
    assert (checked.rows, checked.alleles, checked.unscored) == (120, 0, {"symbolic": 60, "unknown_base": 60})


@pytest.mark.parametrize(
    ("shift", "words"),
    [(-1, r"is the base after POS .* add 1 to every POS"), (1, r"is the base before POS .* subtract 1 from")],
)
def test_positions_off_by_one_are_named(
    genome: Genome, write: Callable[..., Path], shift: int, words: str
) -> None:
    rows = [(p + shift, LETTERS[p - 1], "ACGT"["ACGT".index(LETTERS[p - 1]) - 1]) for p in range(1, 200)]
    with pytest.raises(
        UserError, match=rf"in\.vcf: POS is off by one: in \d+ of \d+ rows .*{words}"
    ) as error:
        check(Vcf(write(*rows)), Records(genome), lambda line: None)
    assert "\n" not in str(error.value)


def test_positions_off_by_two_are_another_assembly(genome: Genome, write: Callable[..., Path]) -> None:
    rows = [(p + 2, LETTERS[p - 1], "A") for p in range(1, 200)]
    with pytest.raises(UserError, match="the variants are of another assembly"):
        check(Vcf(write(*rows)), Records(genome), lambda line: None)


@pytest.mark.parametrize("kind", ["plain", "gzip"])
def test_piped_vcf_can_be_read_again(tmp_path: Path, write: Callable[..., Path], kind: str) -> None:
    content = write((10, A, C), (11, C, A)).read_bytes()
    sent = gzip.compress(content) if kind == "gzip" else content
    os.mkfifo(tmp_path / "pipe")
    for _ in range(2):  # another text by the same pipe is another file
        thread = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(sent,))
        thread.start()
        vcf = Vcf(tmp_path / "pipe")
        thread.join()
        counts = Counter(row.position for _ in range(2) for row in vcf.rows())
        assert counts == ({10: 2, 11: 2} if sent != HEADER else {})
        sent = HEADER
    assert str(vcf.path) == str(tmp_path / "pipe")


def test_byte_order_mark_is_not_part_of_vcf(tmp_path: Path, write: Callable[..., Path]) -> None:
    path = write((10, A, C))
    content = path.read_bytes()
    path.write_bytes(b"\xef\xbb\xbf" + content)
    vcf = Vcf(path)
    assert b"".join([*vcf.header, *(b"\t".join(row.columns) + row.end for row in vcf.rows())]) == content


@pytest.mark.parametrize(
    ("bound", "value", "together"),
    [("SITES", 2, [3, 4, 1]), ("MOST_ROWS", 4, [4, 4]), ("MOST_BYTES", 60, [5, 3])],
)
def test_rows_wait_in_memory_up_to_a_bound(
    bound: str,
    value: int,
    together: list[int],
    genome: Genome,
    write: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of eight rows of 13 or 17 bytes each, every other one can be scored."""
    monkeypatch.setattr(score_vcf, bound, value)
    path = write(*[(10, A, "<DEL>" if i % 2 else C) for i in range(8)])
    parts = list(score_vcf._read_together(Vcf(path), Records(genome)))
    assert [len(part) for part in parts] == together
    assert [row.number for part in parts for row, _ in part] == list(range(3, 11))
