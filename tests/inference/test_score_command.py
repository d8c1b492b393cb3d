"""`python -m dnamamba.score`: rows out as they came in, with scores; mistakes in one line."""

import csv
import gzip
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import dnamamba
from dnamamba import Genome, UserError, get_alphabet
from dnamamba.inference import score_vcf as score_vcf_module
from tests import processes

HEADER = (
    "##fileformat=VCFv4.3\n##contig=<ID=one>\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tme\n"
)


def row(position: int, ref: str, alt: str, info: str = "AC=1;DB") -> str:
    return f"one\t{position}\trs{position}\t{ref}\t{alt}\t3.0e1\tq10;s50\t{info}\tGT:GP\t0/1:1e-05,1,0\n"


def other(base: str) -> str:
    return "ACGT"["ACGT".index(base) - 1]


@pytest.fixture
def vcf(text: str, tmp_path: Path) -> tuple[Path, list[tuple[str, int, str, str]]]:
    """Rows of every kind, and the alleles that can be scored, in order."""

    def at(position: int, width: int = 1) -> str:
        return text[position - 1 : position - 1 + width]

    rows, scored = [], []
    for position, ref, alts, info in [
        (100, at(100), [other(at(100))], "."),
        (100, at(100), ["<DEL>", other(at(100)), "N", at(100) + "GGG"], "DP=1"),
        (150, at(150, 5), [at(150)], "DP=1"),
        (160, other(at(160)), [at(160)], "DP=1"),
        (200, at(200).lower(), ["."], "."),
        (550, "A", ["C"], "DP=2"),
        (2999, at(2999, 2), [at(2999) + "TT", "ac"], "DP=1"),
    ]:
        rows.append(row(position, ref, ",".join(alts), info))
        if rows[-1].split("\t")[3].upper() == at(position, len(ref)):
            spelled = [alt for alt in alts if set(alt.upper()) <= set("ACGT") and alt.upper() != ref.upper()]
            scored += [("one", position, ref, alt) for alt in spelled]
    path = tmp_path / "in.vcf"
    path.write_text(HEADER + "".join(rows))
    return path, scored


def info(line: str) -> dict[str, str]:
    return dict(field.partition("=")[::2] for field in line.split("\t")[7].split(";"))


def test_rows_keep_order_and_columns(
    score: Callable[..., None],
    vcf: tuple[Path, list[tuple[str, int, str, str]]],
    saved_model: Path,
    genome: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path, scored = vcf
    score(f"vcf={path}", f"out={tmp_path / 'out.vcf'}", "shifts=[0,5]")
    before, after = path.read_text().splitlines(), (tmp_path / "out.vcf").read_text().splitlines()
    assert [
        line for line in after if line.startswith("#") and "DNAMAMBA" not in line and "dnamamba" not in line
    ] == (before[:3])
    rows = [line for line in after if not line.startswith("#")]
    for old, new in zip(before[3:], rows, strict=True):
        old_columns, new_columns = old.split("\t"), new.split("\t")
        assert new_columns[:7] + new_columns[8:] == old_columns[:7] + old_columns[8:]
        if old_columns[7] != ".":
            assert new_columns[7].startswith(old_columns[7] + ";")
    assert rows[4].split("\t")[7] == "."

    effects = dnamamba.score_variants(
        dnamamba.load(saved_model), Genome(genome, get_alphabet("dna")), scored, window=64, shifts=(0, 5)
    )
    for name, expected in (("DNAMAMBA_LLR", effects.llr), ("DNAMAMBA_DISTANCE", effects.distance)):
        texts = [
            value for line in rows for value in info(line).get(name, "").split(",") if value not in ("", ".")
        ]
        np.testing.assert_allclose([float(value) for value in texts], expected, rtol=1e-3, atol=1e-5)
    assert [value == "." for value in info(rows[1])["DNAMAMBA_LLR"].split(",")] == [True, False, True, False]
    reasons = [info(line).get("DNAMAMBA_UNSCORED") for line in rows]
    assert reasons == [None, "symbolic", None, "ref_mismatch", None, "unknown_base", "same_as_ref"]
    said = capsys.readouterr()
    assert "in.vcf, line 7, one:160: REF is " in said.err
    assert "REF is not the FASTA's in 1 of 7 rows" in said.err
    assert "5 alleles of 7 rows" in said.out


def test_a_table_has_a_line_for_each_allele(
    score: Callable[..., None], vcf: tuple[Path, list[tuple[str, int, str, str]]], tmp_path: Path
) -> None:
    path, _ = vcf
    for out in ("out.tsv", "out.vcf", "out.vcf.gz"):
        score(f"vcf={path}", f"out={tmp_path / out}")
    with (tmp_path / "out.tsv").open(newline="") as file:
        table = list(csv.DictReader(file, delimiter="\t"))
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    alleles = [(line, alt) for line in lines for alt in line.split("\t")[4].split(",")]
    assert [("\t".join(list(found.values())[:10]), found["allele"]) for found in table] == alleles
    scored = [line for line in (tmp_path / "out.vcf").read_text().splitlines() if "DNAMAMBA_LLR=" in line]
    expected = [value for line in scored for value in info(line)["DNAMAMBA_LLR"].split(",") if value != "."]
    assert [found["llr"] for found in table if found["llr"] != "NA"] == expected
    assert {found["unscored"] for found in table if found["llr"] == "NA"} == {
        "symbolic",
        "unknown_base",
        "ref_mismatch",
        "same_as_ref",
        ".",
    }
    with gzip.open(tmp_path / "out.vcf.gz") as file:
        assert file.read() == (tmp_path / "out.vcf").read_bytes()


def test_another_assembly_stops_early(
    score: Callable[..., None], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(score_vcf_module, "CHECKED_BEFORE_STOPPING", 10)
    monkeypatch.setattr(score_vcf_module, "score_vcf", None)
    path = tmp_path / "in.vcf"
    wrong = [row(p, other(text[p - 1]), "A") for p in range(1, 7)]
    right = [row(p, text[p - 1], other(text[p - 1])) for p in range(7, 400)]
    path.write_text(HEADER + "".join(wrong + right))
    with pytest.raises(UserError, match="in 6 of the first 10 rows: the variants are of another assembly"):
        score(f"vcf={path}", f"out={tmp_path / 'out.vcf'}")
    monkeypatch.setattr(score_vcf_module, "CHECKED_BEFORE_STOPPING", 100)
    path.write_text(HEADER + "".join(wrong + right[:5]))
    with pytest.raises(UserError, match="in 6 of the first 11 rows"):
        score(f"vcf={path}", f"out={tmp_path / 'out.vcf'}")
    assert not (tmp_path / "out.vcf").exists()


def test_a_few_rows_say_nothing_about_an_assembly(
    score: Callable[..., None], text: str, tmp_path: Path
) -> None:
    path = tmp_path / "in.vcf"
    path.write_text(HEADER + row(1, other(text[0]), "A") + row(2, "N", "A"))
    score(f"vcf={path}", f"out={tmp_path / 'out.vcf'}")
    rows = (tmp_path / "out.vcf").read_text().splitlines()[-2:]
    assert [info(line)["DNAMAMBA_UNSCORED"] for line in rows] == ["ref_mismatch", "unknown_base"]


def test_each_allele_has_its_own_reason(score: Callable[..., None], text: str, tmp_path: Path) -> None:
    path = tmp_path / "in.vcf"
    path.write_text(HEADER + row(9, text[8], f"<DEL>,{other(text[8])},N,{text[8].lower()}"))
    score(f"vcf={path}", f"out={tmp_path / 'out.tsv'}")
    with (tmp_path / "out.tsv").open(newline="") as file:
        found = [line["unscored"] for line in csv.DictReader(file, delimiter="\t")]
    assert found == ["symbolic", ".", "unknown_base", "same_as_ref"]


def test_a_file_scored_before_is_refused(
    score: Callable[..., None], vcf: tuple[Path, object], tmp_path: Path
) -> None:
    score(f"vcf={vcf[0]}", f"out={tmp_path / 'out.vcf'}")
    with pytest.raises(UserError, match="has INFO fields of dnamamba already"):
        score(f"vcf={tmp_path / 'out.vcf'}", f"out={tmp_path / 'again.vcf'}")
    assert {path.name for path in tmp_path.iterdir()} == {"in.vcf", "out.vcf", "genome.fa"}


@pytest.mark.parametrize("info", ["DNAMAMBA_LLR=3", "AC=1;DNAMAMBA_UNSCORED=symbolic", ""])
def test_a_row_has_each_info_field_once(
    score: Callable[..., None], vcf: tuple[Path, object], tmp_path: Path, info: str
) -> None:
    """Rows of a scored file, whose header was replaced; and a row whose INFO is empty."""
    *meta, first = vcf[0].read_text().splitlines()[: _first_row(vcf[0]) + 1]
    columns = first.split("\t")
    columns[7] = info
    (tmp_path / "one.vcf").write_text("\n".join([*meta, "\t".join(columns)]) + "\n")
    if info:
        with pytest.raises(UserError, match="has an INFO field of dnamamba already"):
            score(f"vcf={tmp_path / 'one.vcf'}", f"out={tmp_path / 'out.vcf'}")
        return
    score(f"vcf={tmp_path / 'one.vcf'}", f"out={tmp_path / 'out.vcf'}")
    assert (tmp_path / "out.vcf").read_text().splitlines()[-1].split("\t")[7].startswith("DNAMAMBA_")


def _first_row(path: Path) -> int:
    lines = path.read_text().splitlines()
    return next(number for number, line in enumerate(lines) if not line.startswith("#"))


@pytest.mark.parametrize(
    ("line", "overrides", "message"),
    [
        (
            "",
            ["out=out.bed", "vcf=VCF"],
            "out=out.bed: must be a file's name that ends in .vcf or .vcf.gz or .tsv",
        ),
        ("", ["out=VCF", "vcf=VCF"], "is there already; set overwrite=true"),
        ("", ["out=VCF", "vcf=VCF", "overwrite=true"], "is the file to score"),
        ("", ["out=out.vcf"], "give either vcf=FILE"),
        ("", ["out=out.tsv", "vcf=VCF", "region=one:1-9"], "give either vcf=FILE"),
        ("", ["out=out.vcf", "region=one:1-9"], "out=out.vcf: must be a file's name that ends in .tsv"),
        ("", ["out=out.tsv", "region=one:2999-3001"], "one has bases 1 to 3,000"),
        ("", ["out=out.vcf", "vcf=VCF", "window=1"], "window: must be at least 2 bases (got 1)"),
        (
            "",
            ["out=out.vcf", "vcf=VCF", "bases_per_batch=0"],
            "bases_per_batch: must be at least 1 (got 0)",
        ),
        (
            "tow\t1\t.\tA\tC\t.\t.\t.\t.\t.\n",
            ["out=out.vcf", "vcf=VCF"],
            "line 4: GENOME has no record 'tow'; did you mean two? (unknown=skip marks such rows)",
        ),
        ("one\t1\t.\tA\tC\t.\n", ["out=out.vcf", "vcf=VCF"], "line 4: 6 column(s), but the header names 10"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    score: Callable[..., None],
    genome: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    line: str,
    overrides: Sequence[str],
    message: str,
) -> None:
    path, work = tmp_path / "in.vcf", tmp_path / "work"
    path.write_text(HEADER + line)
    work.mkdir()
    monkeypatch.chdir(work)
    with pytest.raises(UserError) as error:
        score(*(override.replace("VCF", str(path)) for override in overrides))
    assert message.replace("GENOME", str(genome)) in str(error.value)
    assert "\n" not in str(error.value)
    assert list(work.iterdir()) == []
    assert path.read_text() == HEADER + line


def test_damage_found_while_scoring_leaves_nothing(
    score: Callable[..., None], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fills up, too: what was written under another name is removed."""
    path = tmp_path / "in.vcf"
    path.write_text(HEADER + row(10, text[9], other(text[9])))

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(score_vcf_module, "_vcf_line", full)
    with pytest.raises(OSError, match="No space left"):
        score(f"vcf={path}", f"out={tmp_path / 'out.vcf'}")
    assert {path.name for path in tmp_path.iterdir()} == {"in.vcf", "genome.fa"}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.integers(0, 3010),
            st.text("ACGTNacgtnR", min_size=1, max_size=4),
            st.lists(
                st.text("ACGTNacgt", min_size=1, max_size=4)
                | st.sampled_from(["<DEL>", "*", ".", "A[one:5["]),
                min_size=1,
                max_size=3,
            ),
            st.booleans(),
        ),
        max_size=4,
    )
)
def test_any_row_keeps_columns_and_says_its_score(
    score: Callable[..., None], text: str, tmp_path: Path, rows: list[tuple[int, str, list[str], bool]]
) -> None:
    path, out = tmp_path / "fuzz.vcf", tmp_path / "fuzz.out.vcf"
    lines = []
    for position, ref, alts, real in rows:
        spelled = text[max(position - 1, 0) : max(position - 1, 0) + len(ref)] if real else ref
        lines.append(row(position, spelled or ref, ",".join(alts)))
    path.write_text(HEADER + "".join(lines))
    try:
        score(f"vcf={path}", f"out={out}", "overwrite=true", "window=16")
    except UserError as error:
        assert "another assembly" in str(error)  # noqa: PT017
        return
    found = [line for line in out.read_text().splitlines() if not line.startswith("#")]
    for old, new in zip(lines, found, strict=True):
        assert (
            new.split("\t")[:7] + new.split("\t")[8:]
            == old.split("\t")[:7] + old.rstrip("\n").split("\t")[8:]
        )
        fields = info(new)
        alts = old.split("\t")[4].split(",")
        llr = fields.get("DNAMAMBA_LLR", ",".join("." * len(alts))).split(",")
        assert len(llr) == len(alts) or alts == ["."]
        if "." in llr and alts != ["."]:
            reasons = ("ref_mismatch", "unknown_base", "symbolic", "same_as_ref")
            assert fields["DNAMAMBA_UNSCORED"] in reasons


def test_the_command_as_typed(saved_model: Path, genome: Path, text: str, tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    (tmp_path / "in.vcf").write_text(HEADER + row(10, text[9], other(text[9])))
    command = ("dnamamba.score", f"model={saved_model}", f"fasta={genome}", "window=32")
    failed = processes.run(*command, "out=out.vcf", folder=folder)
    assert failed.returncode == 1
    assert failed.stderr == (
        "dnamamba: error: give either vcf=FILE, whose variants are scored, or region=NAME:START-END\n"
    )
    assert list(folder.iterdir()) == []
    done = processes.run(*command, "out=out.vcf", "vcf=../in.vcf", folder=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("1 alleles of 1 rows in ")
    assert [path.name for path in folder.iterdir()] == ["out.vcf"]
