"""`predict` of answers per base or bin: both strands joined, and regions with their context."""

from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dnamamba import Genome, RegionsConfig, UserError, get_alphabet, load, predict_positions, save_model
from dnamamba.commands.predict import PredictConfig, predict_to_file
from dnamamba.inference import position_files
from dnamamba.inference.bigwig import BigWigWriter, bigwig
from dnamamba.inference.position_files import PositionAnswers, _bridged, files_of
from dnamamba.models import DecoderConfig, SequenceModel
from dnamamba.models.positions import PositionModel
from tests.inference.test_position_attribution import LETTERS, SHAPE, model_of

DNA = get_alphabet("dna")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("positions")
    (folder / "g.fa").write_text(f">one\n{LETTERS}\n>two\n{LETTERS[::-1]}\n")
    for name in ("classes", "tracks"):
        save_model(model_of(name).float(), folder / name)
    return folder


def answers_to(name: str, letters: str) -> np.ndarray:
    """Probabilities or track values by the formulas, from the logits of one forward pass: [bins, labels]."""
    model = model_of(name).float()
    with torch.no_grad():
        logits = model(torch.from_numpy(DNA.encode(letters))[None]).logits[0].double()
    if name == "classes":
        return logits.softmax(-1).numpy()
    return (logits.exp() * torch.tensor(model.decoder.means)).expm1().numpy()


@pytest.mark.parametrize(("name", "swapped"), [("classes", [0, 2, 1]), ("tracks", [1, 0])])
def test_strands_are_joined_with_their_labels_swapped(home: Path, name: str, swapped: list[int]) -> None:
    """Of 25 bases in bins of four the last is short: N completes it, so that both strands have one grid."""
    model, genome = model_of(name).float(), Genome(home / "g.fa", DNA)
    padded = LETTERS + "N" * (-len(LETTERS) % model.decoder.bin)
    turned = padded[::-1].translate(str.maketrans("ACGT", "TGCA"))
    expected = (answers_to(name, LETTERS) + answers_to(name, turned)[::-1][:, swapped]) / 2
    if name == "classes":
        expected[LETTERS.index("N")] = np.nan
    found = PositionAnswers(model, "fp32", piece=8, strand="both").values(genome, "one")
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert np.nanmax(np.abs(found - answers_to(name, LETTERS))) > 1e-3


def test_an_answer_that_overflows_is_refused_by_its_record(home: Path) -> None:
    """Of log(1 + y) with finite logits: `inf` went into tables and bigWigs."""
    model = model_of("tracks").float()
    with torch.no_grad():
        list(model.parameters())[-1].fill_(40.0)
    with pytest.raises(UserError, match=r"^two: the model computes values that are not finite \(got inf\)"):
        PositionAnswers(model, "fp32").values(Genome(home / "g.fa", DNA), "two")


def read(path: Path) -> list[list[str]]:
    return [line.split("\t") for line in path.read_text().splitlines()]


def test_regions_alone_are_answered_in_whole_bins(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "r.bed").write_text("two\t21\t25\tx\t0\t-\none\t5\t6\none\t9\t10\none\t14\t15\n")
    out = home / "r.tsv"
    config = PredictConfig(
        str(home / "tracks"), str(out), fasta=str(home / "g.fa"), bed=str(home / "r.bed"), context=3
    )
    predict_to_file(config)
    said = " ".join(capsys.readouterr().out.split())
    assert "4 regions, joined to 2, each read with 3 bases on either side, 5 bins" in said
    rows = read(out)[1:]
    # Bins 1 and 2 of `one` meet, and 3 too: bases 4 to 16; of `two` the last two bins.
    assert [row[:3] for row in rows] == [
        ["one", "4", "8"], ["one", "8", "12"], ["one", "12", "16"], ["two", "20", "24"], ["two", "24", "25"],
    ]  # fmt: skip
    # Three bases more are read, and what completes their bins.
    first = answers_to("tracks", LETTERS[0:20])[1:4]
    second = answers_to("tracks", LETTERS[::-1][16:25])[1:3]
    found = np.array([[float(cell) for cell in row[3:]] for row in rows])
    np.testing.assert_allclose(found, np.concatenate([first, second]), rtol=1e-4)


def test_python_gives_the_numbers_of_the_files(home: Path) -> None:
    (home / "r.bed").write_text("two\t21\t25\tx\t0\t-\none\t5\t6\none\t9\t10\none\t14\t15\n")
    model, fasta = load(home / "tracks"), str(home / "g.fa")
    for source, settings in ((fasta, {}), ((fasta, str(home / "r.bed")), {"context": 3})):
        bed = source[1] if isinstance(source, tuple) else None
        out = home / "same.tsv"
        predict_to_file(
            PredictConfig(str(home / "tracks"), str(out), fasta=fasta, bed=bed, overwrite=True, **settings)
        )  # type: ignore[arg-type]
        rows = sorted(read(out)[1:])
        found = sorted(predict_positions(model, source, **settings), key=lambda one: one[:2])
        assert [one.labels for one in found] == [("plus", "minus")] * len(found)
        same = [
            [one.record, str(start), str(min(start + 4, one.end)), *map(repr, values)]
            for one in found
            for start, values in zip(range(one.start, one.end, 4), one.values.tolist(), strict=True)
        ]
        assert sorted(same) == rows
    (one,) = predict_positions(model, [LETTERS])
    np.testing.assert_array_equal(one.values, predict_positions(model, fasta)[0].values)
    assert one[:3] == ("0", 0, 25)
    with pytest.raises(UserError, match=r"ask it with dnamamba\.predict$"):
        predict_positions(SequenceModel(SHAPE, DecoderConfig("classification", ("a", "b"))), fasta)


def test_region_with_all_context_is_part_of_its_record(home: Path) -> None:
    pyBigWig = pytest.importorskip("pyBigWig")
    (home / "c.bed").write_text("one\t7\t19\n")
    for name, bed in (("whole", None), ("part", str(home / "c.bed"))):
        predict_to_file(
            PredictConfig(
                str(home / "classes"), str(home / f"{name}.bw"), fasta=str(home / "g.fa"), bed=bed,
                strand="both", label="gene+", precision="fp32",
            )
        )  # fmt: skip
    with pyBigWig.open(str(home / "whole.bw")) as whole, pyBigWig.open(str(home / "part.bw")) as part:
        expected, found = (np.array(file.values("one", 0, 25)) for file in (whole, part))
        assert np.isnan(part.values("two", 0, 25)).all()
    np.testing.assert_array_equal(found[7:19], expected[7:19])
    assert np.isnan(np.concatenate([found[:7], found[19:]])).all()


def test_segments_of_region_lie_in_it(home: Path) -> None:
    (home / "s.bed").write_text("two\t10\t17\n")
    predict_to_file(
        PredictConfig(
            str(home / "classes"), str(home / "s.tsv"), fasta=str(home / "g.fa"), bed=str(home / "s.bed")
        )
    )
    best = answers_to("classes", LETTERS[::-1])[10:16].argmax(1)  # the base at 16 is N
    covered = {place for row in read(home / "s.tsv")[1:] for place in range(int(row[1]), int(row[2]))}
    assert covered == {10 + place for place in np.flatnonzero(best)}
    assert covered


def test_unknown_bases_have_no_answer_and_end_no_feature(home: Path) -> None:
    """Genes were called in gaps of an assembly, by what a head makes of zeros."""
    letters = f"{LETTERS[:8]}NNNNNNNN{LETTERS[16:]}"
    (home / "n.fa").write_text(f">one\n{letters}\n")
    genome = Genome(home / "n.fa", DNA)
    expected = answers_to("classes", letters)
    expected[8:16] = np.nan
    found = PositionAnswers(model_of("classes").float(), "fp32").values(genome, "one")
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    predict_to_file(PredictConfig(str(home / "tracks"), str(home / "n.tsv"), fasta=str(home / "n.fa")))
    rows = read(home / "n.tsv")[1:]
    assert [row[1] for row in rows if "NA" in row[3:]] == ["8", "12"]
    groups = [("none", "."), ("gene", "+"), ("gene", "-")]
    lost = np.full(3, np.nan)
    best = [lost, *np.eye(3)[[1]], lost, lost, *np.eye(3)[[1, 2]], lost, *np.eye(3)[[1]], lost]
    assert _bridged(np.array(best, np.float32), groups).tolist() == [0, 1, 1, 1, 1, 2, 0, 1, 0]


def test_numbers_far_from_zero_keep_their_digits(home: Path) -> None:
    """float32 has a step of 0.001 at 10,000: correlations of a table were not those of metrics.json."""
    model = model_of("tracks").float()
    decoder = replace(model.decoder, means=(1e4, -1e6), loss="mse", scaling="none")
    save_model(PositionModel(SHAPE, decoder), home / "far")
    far = load(home / "far")
    with torch.no_grad():
        for parameter in far.parameters():
            parameter.mul_(0.1)
        logits = far(torch.from_numpy(DNA.encode(LETTERS))[None]).logits[0].double()
    save_model(far, home / "far", overwrite=True)
    predict_to_file(PredictConfig(str(home / "far"), str(home / "far.tsv"), fasta=str(home / "g.fa")))
    rows = [row[3:] for row in read(home / "far.tsv") if row[0] == "one"]
    found = np.array(rows, dtype=np.float64) - np.array([1e4, -1e6])
    np.testing.assert_allclose(found, logits.numpy(), rtol=1e-4, atol=1e-6)


def test_settings_of_regions_are_refused_by_name(home: Path, tmp_path: Path) -> None:
    save_model(SequenceModel(SHAPE, DecoderConfig("classification", ("a", "b"))), tmp_path / "m")
    fasta, bed = str(home / "g.fa"), str(home / "r.bed")
    (home / "r.bed").write_text("one\t5\t6\n")
    for words, model, settings in (
        (r"context: the model answers once per sequence \(got 5\)", tmp_path / "m", {"context": 5}),
        (r"context: must be at least 0 \(got -1\)", home / "classes", {"context": -1}),
        *(
            (
                rf"regions\.{key}: answers per base or bin are written by place alone \(got 4\)",
                home / "tracks",
                {"regions": RegionsConfig(**{key: "4"})},
            )
            for key in ("name", "label")
        ),
        (r"strand: must be forward or both \(got 'reverse'\)", home / "classes", {"strand": "reverse"}),
    ):
        config = PredictConfig(str(model), str(tmp_path / "x.tsv"), fasta=fasta, bed=bed, **settings)  # type: ignore[arg-type]
        with pytest.raises(UserError, match=words):
            predict_to_file(config)
        assert not (tmp_path / "x.tsv").exists()


def test_bigwigs_of_labels_come_together(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None has its name before all are whole: the last one fails here."""
    pytest.importorskip("pyBigWig")
    begun: list[Path] = []

    def failing(path: Path, lengths: dict[str, int], name: Path) -> AbstractContextManager[BigWigWriter]:
        begun.append(path)
        if len(begun) == 3:
            raise UserError(f"can't write {name}: No space left on device")
        return bigwig(path, lengths, name)

    config = PredictConfig(str(home / "classes"), str(tmp_path / "o.bw"), fasta=str(home / "g.fa"))
    with monkeypatch.context() as patch:
        patch.setattr(position_files, "bigwig", failing)
        with pytest.raises(UserError, match=r"o\.gene-\.bw: No space left"):
            predict_to_file(config)
    assert list(tmp_path.iterdir()) == []
    predict_to_file(config)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["o.gene+.bw", "o.gene-.bw", "o.none.bw"]


def test_labels_that_are_one_file_are_refused(tmp_path: Path) -> None:
    out = tmp_path / "o.bw"
    assert files_of(out, ["x/\x1b", "y"]) == {
        "x/\x1b": tmp_path / "o.x_\\x1b.bw",
        "y": tmp_path / "o.y.bw",
    }
    with pytest.raises(UserError, match=r"labels a/b and a_b are one file .*o\.a_b\.bw; write label=NAME"):
        files_of(out, ["a/b", "c", "a_b"])


def test_masks_and_gaps_are_read_as_unknown_bases() -> None:
    """As by every other command: X, gaps and N are one; other letters are refused."""
    model = model_of("classes").float()
    (known,) = predict_positions(model, ["ACGTNNNNA"])
    (found,) = predict_positions(model, ["ACGTX-.*A"])
    np.testing.assert_array_equal(found.values, known.values)
    assert np.isnan(known.values[4:8]).all()
    with pytest.raises(UserError, match=r"^sequence 0: 'Z' at position 5 is not a nucleotide code$"):
        predict_positions(model, ["ACGTZ"])
