"""`<DEL>`, `<DUP>` and `<INV>` are scored as if they were spelled out, up to a stated length."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from dnamamba import Genome, LanguageModel, MambaConfig, UserError, get_alphabet
from dnamamba.data.symbolic import Event, event_of
from dnamamba.data.variants import Vcf
from dnamamba.inference.effects import Windows
from dnamamba.inference.score_vcf import check, score_vcf
from dnamamba.inference.variants import spelled_up_to
from dnamamba.inference.vcf_rows import Records

HEADER = "##fileformat=VCFv4.4\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
LETTERS = "".join(np.random.default_rng(8).choice(list("ACGT"), 380)) + "N" * 20
DNA = get_alphabet("dna")
P = 100  # POS; bases 101 to 130 are changed
BEFORE, CHANGED = LETTERS[P - 1], LETTERS[P:130]
INVERTED = CHANGED.translate(str.maketrans("ACGT", "TGCA"))[::-1]
OTHER = "ACGT"["ACGT".index(BEFORE) - 1]


@pytest.fixture
def genome(tmp_path: Path) -> Genome:
    (tmp_path / "g.fa").write_text(f">one\n{LETTERS}\n")
    return Genome(tmp_path / "g.fa", DNA)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Vcf]:
    def write(*rows: tuple[int, str, str, str], name: str = "in.vcf") -> Vcf:
        lines = [f"one\t{position}\t.\t{ref}\t{alt}\t.\t.\t{info}\n" for position, ref, alt, info in rows]
        (tmp_path / name).write_text(HEADER + "".join(lines))
        return Vcf(tmp_path / name)

    return write


@pytest.mark.parametrize(
    ("alt", "info", "expected"),
    [
        ("<DEL>", "END=130", Event("DEL", P, 130)),
        ("<DEL>", "SVTYPE=DEL;SVLEN=-30", Event("DEL", P, 130)),
        ("<DEL:ME:ALU>", "SVLEN=30;END=130", Event("DEL", P, 130)),
        ("<DUP>", "SVLEN=30", Event("DUP", P, 130)),
        ("<DUP:TANDEM>", "END=130", Event("DUP", P, 130)),
        ("<INV>", "SVLEN=0;END=130", Event("INV", P, 130)),
        ("<INV>", "SVLEN=.;END=130", Event("INV", P, 130)),
        ("<DEL>", ".", "an ALT has neither END nor SVLEN"),
        ("<DEL>", "END=many", "an ALT has neither END nor SVLEN"),
        ("<DEL>", "END=130;SVLEN=-31", "END is 130, but SVLEN ends at 131"),
        ("<DEL>", "END=100", "END is 100, not after POS 100"),
        ("<DUP:DISPERSED>", "END=130", "an ALT is not spelled out"),
        ("<INS>", "SVLEN=30", "an ALT is not spelled out"),
        ("*", "END=130", "an ALT is not spelled out"),
    ],
)
def test_an_event_is_read_from_end_or_length(
    write: Callable[..., Vcf], alt: str, info: str, expected: Event | str
) -> None:
    (row,) = write((P, "N", alt, info)).rows()
    assert event_of(row, 0) == expected


def alleles(genome: Genome, vcf: Vcf) -> list[str]:
    (row,) = vcf.rows()
    records = Records(genome)
    can = records.plan(row, "line 3")
    assert can.unscored is None
    site = records.site(row, can)
    assert site.start == P - 1
    return [DNA.decode(allele) for allele in site.alleles]


@pytest.mark.parametrize(
    ("ref", "alt", "info", "spelled"),
    [
        (BEFORE, "<DEL>", "END=130", [BEFORE + CHANGED, BEFORE]),
        ("N", "<DEL>", "SVLEN=-30", [BEFORE + CHANGED, BEFORE]),
        (BEFORE, "<DUP>", "SVLEN=30", [BEFORE, BEFORE + CHANGED]),
        (BEFORE, "<INV>", "END=130", [BEFORE + CHANGED, BEFORE + INVERTED]),
        (
            BEFORE,
            f"{OTHER},<DEL>,<DUP>,<INV>",
            "SVLEN=.,-30,30,10",
            [
                BEFORE + CHANGED,
                OTHER + CHANGED,
                BEFORE,
                BEFORE + CHANGED + CHANGED,
                BEFORE + INVERTED[20:] + CHANGED[10:],
            ],
        ),
    ],
)
def test_symbolic_alleles_are_spelled_out(
    genome: Genome, write: Callable[..., Vcf], ref: str, alt: str, info: str, spelled: list[str]
) -> None:
    assert alleles(genome, write((P, ref, alt, info))) == spelled


@pytest.mark.parametrize(
    ("position", "alt", "info", "reason"),
    [
        (P, "<DEL>", "END=131", "too_long"),
        (P, "<DEL>", "END=130", None),
        (P, "<INV>", "END=401", "ref_mismatch"),
        (370, "<DEL>", "END=390", "unknown_base"),
        (0, "<DEL>", "END=10", "unknown_base"),
    ],
)
def test_what_cannot_be_scored_says_why(
    genome: Genome, write: Callable[..., Vcf], position: int, alt: str, info: str, reason: str | None
) -> None:
    (row,) = write((position, "N", alt, info)).rows()
    (problem,) = Records(genome, symbolic=30).plan(row, "line 3").problems
    assert (problem and problem.reason) == reason


def test_scores_are_those_of_the_same_row_spelled_out(
    genome: Genome, write: Callable[..., Vcf], tmp_path: Path
) -> None:
    torch.manual_seed(1)
    model = LanguageModel(MambaConfig(d_model=8, n_layer=1)).eval()
    symbolic = write(
        (P, "N", "<DEL>", "END=130"), (P, "N", "<DUP>", "END=130"), (P, BEFORE, "<INV>,<BND>", "SVLEN=30,.")
    )
    spelled = write(
        (P, BEFORE + CHANGED, BEFORE, "."),
        (P, BEFORE, BEFORE + CHANGED, "."),
        (P, BEFORE + CHANGED, BEFORE + INVERTED, "."),
        name="spelled.vcf",
    )
    found = []
    for name, vcf in (("a.tsv", symbolic), ("b.tsv", spelled)):
        records = Records(genome)
        assert check(vcf, records, pytest.fail).alleles == 3
        score_vcf(model, vcf, records, Windows(64), None, tmp_path / name, lambda rows: None)
        lines = [line.split("\t") for line in (tmp_path / name).read_text().splitlines()]
        found.append([line[-3:] for line in lines])
    assert found[0][1:4] == found[1][1:]
    assert found[0][4] == ["NA", "NA", "symbolic"]
    assert all(abs(float(line[0])) > 1e-3 for line in found[1][1:])


def test_limit_is_in_reach_of_the_family() -> None:
    class Short:
        class backbone:  # noqa: N801
            max_length = 5000

    assert spelled_up_to(10_000, Short, Windows(1024)) == 3976  # type: ignore[arg-type]
    assert spelled_up_to(100, Short, Windows(1024)) == 100  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"symbolic: must be at least 0 bases \(got -1\)"):
        Records(None, symbolic=-1)  # type: ignore[arg-type]
