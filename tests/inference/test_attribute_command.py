"""`dnamamba attribute`: its files, and what it refuses before any work."""

import csv
from pathlib import Path

import numpy as np
import pyBigWig
import pytest
import torch
from matplotlib.figure import Figure

from dnamamba import (
    DecoderConfig,
    Genome,
    LanguageModel,
    MambaConfig,
    SequenceModel,
    UserError,
    get_alphabet,
    reached,
    save_model,
)
from dnamamba.commands import attribute as command
from dnamamba.commands.attribute import AttributeConfig, attribute_region
from dnamamba.data.intervals import Interval
from dnamamba.inference import attribution
from dnamamba.inference.attribution import attribute
from dnamamba.inference.dependency import dependency_map

LETTERS = "ACGTTGCANGATTACAGG"
COMMON = {"region": "one:8-12", "method": "ism", "context": 4, "strand": "both", "label": None, "at": None}
COMMON |= {"tolerance": 1e-3, "bigwig": False, "device": "cpu", "overwrite": False}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("attribute")
    (folder / "g.fa").write_text(f">one\n{LETTERS}\n")
    torch.manual_seed(0)
    for name in ("model", "own"):
        save_model(LanguageModel(MambaConfig(d_model=8, n_layer=1)), folder / name)
    return folder


def config(home: Path, out: Path, **changes: object) -> AttributeConfig:
    files = {"model": str(home / "model"), "fasta": str(home / "g.fa"), "out": str(out)}
    return AttributeConfig(**(COMMON | files | changes))  # type: ignore[arg-type]


def read(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_table_and_bigwig_hold_what_python_computes(home: Path, tmp_path: Path) -> None:
    import dnamamba

    out = tmp_path / "a.tsv"
    attribute_region(config(home, out, bigwig=True))
    genome = Genome(home / "g.fa", get_alphabet("dna"))
    found = attribute(dnamamba.load(home / "model"), genome, Interval("one", 7, 12), "ism", context=4)
    rows = read(out)
    assert [(row["pos"], row["base"]) for row in rows] == [(str(8 + i), LETTERS[7 + i]) for i in range(5)]
    assert rows[1]["contribution"] == rows[1]["value_A"] == "NA"  # an N
    values = np.array([[float(row[f"value_{base}"]) for base in "ACGT"] for row in (rows[0], *rows[2:])])
    np.testing.assert_allclose(values, found.values[[0, 2, 3, 4]], rtol=1e-5)
    with pyBigWig.open(str(tmp_path / "a.bw")) as file:
        track = file.values("one", 0, len(LETTERS))
    np.testing.assert_allclose(track[7:12], found.contribution, rtol=1e-6)
    assert np.isnan(track[:7]).all()
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_dependency_table_has_a_line_per_pair(home: Path, tmp_path: Path) -> None:
    import dnamamba

    out = tmp_path / "map.tsv"
    attribute_region(config(home, out, method="dependency", strand="forward"))
    genome = Genome(home / "g.fa", get_alphabet("dna"))
    model = dnamamba.load(home / "model")
    found = dependency_map(model, genome, Interval("one", 7, 12), context=4, strand="forward")
    rows = read(out)
    assert len(rows) == 6
    for row in rows:
        i, j = int(row["pos"]) - 8, int(row["expected_pos"]) - 8
        assert i < j
        assert float(row["dependency"]) == pytest.approx(found[i, j], rel=1e-5)
    assert (tmp_path / "map.png").exists()


def answering(home: Path) -> Path:
    torch.manual_seed(1)
    asked = DecoderConfig("classification", ("leaf", "root"), "mean")
    save_model(SequenceModel(MambaConfig(d_model=8, n_layer=1), asked), home / "mine" / "model")
    return home / "mine" / "model"


def titles(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect the titles of the pictures that are drawn."""
    found: list[str] = []

    def draw(figure: Figure, path: Path) -> None:
        found.append(figure.axes[0].get_title(loc="left"))
        path.write_bytes(b"")

    monkeypatch.setattr(command, "draw", draw)
    return found


def test_a_picture_names_label_and_model(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn, model = titles(monkeypatch), str(answering(home))
    attribute_region(config(home, tmp_path / "a.tsv", model=model))
    said = capsys.readouterr().err
    assert said == "dnamamba: label=root, the second of leaf, root (label= chooses another)\n"
    attribute_region(config(home, tmp_path / "b.tsv", model=model, label="leaf"))
    attribute_region(config(home, tmp_path / "c.tsv", method="dependency", model=str(home / "own")))
    assert capsys.readouterr().err == ""
    first, second, third = (title.split("\n") for title in drawn)
    assert first == ["one:8-12, every single-base change, natural log odds", "label root, model mine"]
    assert second[1] == "label leaf, model mine"
    assert third == ["one:8-12, dependencies between bases", "model own"]


@pytest.mark.parametrize(
    ("method", "strand", "first", "last"),
    [
        (
            "integrated",
            "both",
            "reading: 16 of 4,064 points at most, ",
            "reading: 4,064 of 4,064 points at most",
        ),
        ("dependency", "both", "reading: 1 of 10 bases, ", "reading: 10 of 10 bases"),
        ("gradient", "forward", "reading: 5 of 5 bases, ", "reading: 5 of 5 bases"),
        ("ism", "reverse", "reading: 1 of 5 bases, ", "reading: 5 of 5 bases"),
    ],
)
def test_work_is_told_in_lines_without_a_terminal(
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    method: str,
    strand: str,
    first: str,
    last: str,
) -> None:
    titles(monkeypatch)
    monkeypatch.setattr(reached, "SILENCE", 0.0)
    attribute_region(config(home, tmp_path / "a.tsv", method=method, strand=strand, tolerance=10.0))
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("reading: ")]
    assert (lines[0].startswith(first), lines[-1].startswith(last)) == (True, True), lines


def test_integrated_gradients_say_whether_they_add_up(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    titles(monkeypatch)
    monkeypatch.setattr(attribution, "MOST_POINTS", 16)
    given = {"method": "integrated", "strand": "forward"}
    attribute_region(config(home, tmp_path / "a.tsv", **given, tolerance=10.0))
    said = capsys.readouterr().out
    assert "; the sum misses the difference by " in said
    assert "not converged" not in said
    found = (torch.zeros(1, 4, 13, dtype=torch.float64), 0.5, -2.0)
    monkeypatch.setattr(attribution, "integrated", lambda *asked, advance: found)
    attribute_region(config(home, tmp_path / "b.tsv", **given))
    assert (
        "nats; not converged: the sum misses the difference by 0.5 of 2, tolerance 0.001, with 1,024 "
        "points; take method=ism (exact) or a smaller context: "
    ) in " ".join(capsys.readouterr().out.split())
    # At a difference below 1 the tolerance counts as it is.
    monkeypatch.setattr(attribution, "integrated", lambda *asked, advance: (asked[1].double(), 9e-4, 0.1))
    attribute_region(config(home, tmp_path / "c.tsv", **given))
    assert "not converged" not in capsys.readouterr().out


def test_mistakes_are_said_before_any_work(home: Path, tmp_path: Path) -> None:
    (tmp_path / "there.png").write_text("")
    for match, changes in (
        (r"method: must be one of gradient, integrated, ism, dependency \(got 'x'\)", {"method": "x"}),
        (r"tolerance: must be above 0", {"tolerance": 0.0}),
        (r"label: has no meaning with method=dependency", {"method": "dependency", "label": "a"}),
        (r"there\.png", {"name": "there.tsv"}),
        (r"label: a pretrained model has none", {"label": "a"}),
    ):
        with pytest.raises(UserError, match=match) as error:
            attribute_region(config(home, tmp_path / changes.pop("name", "a.tsv"), **changes))
        assert "\n" not in str(error.value)
    assert not (tmp_path / "a.tsv").exists()


def test_no_file_comes_without_its_bigwig(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill between them would leave a table whose rerun is refused, and no track for ever."""

    def full(*_: object) -> None:
        raise UserError("can't write a.bw: No space left on device")

    monkeypatch.setattr(command, "bigwig", full)
    with pytest.raises(UserError, match="No space left"):
        attribute_region(config(home, tmp_path / "a.tsv", bigwig=True))
    assert list(tmp_path.iterdir()) == []
