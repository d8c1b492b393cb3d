"""Effects of variants on the answer of a fine-tuned model: variants, a VCF, a saturated region."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dnamamba import (
    DecoderConfig,
    Genome,
    LanguageModel,
    MambaConfig,
    SequenceModel,
    UserError,
    get_alphabet,
    save_model,
    score_variants,
)
from dnamamba.commands.score import ScoreConfig, score
from dnamamba.data.variants import Vcf
from dnamamba.inference.answers import window_taken
from dnamamba.models import MambaBackbone

from .conftest import random_dna

DNA = get_alphabet("dna")
LETTERS = random_dna(200).replace("N", "C")


@pytest.fixture
def asked() -> SequenceModel:
    torch.manual_seed(3)
    decoder = DecoderConfig("classification", ("leaf", "root", 'a "b"'), "mean")
    model = SequenceModel(MambaConfig(d_model=8, n_layer=2), decoder)
    torch.nn.init.normal_(model.head.weight, std=3)
    torch.nn.init.normal_(model.backbone.embedding.weight, std=0.5)
    return model.eval()


@pytest.fixture
def fasta(tmp_path: Path) -> Path:
    (tmp_path / "g.fa").write_text(f">chr1\n{LETTERS}\n")
    return tmp_path / "g.fa"


def logits(model: SequenceModel, letters: str, reverse: bool) -> np.ndarray:
    ids = DNA.encode(letters)
    with torch.no_grad():
        return (
            model(torch.from_numpy(DNA.reverse_complement(ids) if reverse else ids.copy())[None])[0]
            .double()
            .numpy()
        )


def by_hand(
    model: SequenceModel, position: int, ref: str, alt: str, label: int, window: int
) -> tuple[float, float]:
    """The mean over strands of the difference of log odds of two windows, each read whole."""
    start = position - 1
    before, end = LETTERS[max(0, start - window // 2) : start], start + len(ref)
    after = LETTERS[end : end + window - 1 - window // 2]
    effects = []
    for reverse in (False, True):
        z = [logits(model, before + allele + after, reverse) for allele in (ref, alt)]
        odds = [each[label] - np.logaddexp.reduce(np.delete(each, label)) for each in z]
        effects.append((odds[1] - odds[0], np.linalg.norm(z[1] - z[0])))
    return tuple(np.mean(effects, axis=0))


VARIANTS = [("chr1", 50, LETTERS[49], "A"), ("chr1", 50, LETTERS[49], "GTT"), ("1", 3, LETTERS[2:5], "T")]


def test_effect_is_difference_of_answers_to_whole_windows(asked: SequenceModel, fasta: Path) -> None:
    variants = [("chr1", *rest) for _, *rest in VARIANTS]
    found = score_variants(asked, Genome(fasta, DNA), variants, window=60, label="root")  # type: ignore[arg-type]
    wanted = [by_hand(asked, *rest, label=1, window=60) for _, *rest in VARIANTS]
    np.testing.assert_allclose(np.transpose(found), wanted, rtol=1e-4, atol=1e-6)


def run(model: SequenceModel, folder: Path, **changed: Any) -> Path:
    save_model(model, folder / "model", overwrite=True)
    settings: dict[str, Any] = {
        "model": str(folder / "model"), "out": str(folder / "out.vcf"), "vcf": None, "region": None,
        "fasta": str(folder / "g.fa"), "window": 60, "shifts": [0], "strand": "both", "device": "cpu",
        "precision": "fp32", "bases_per_batch": None, "overwrite": False, "label": "root",
    }  # fmt: skip
    score(ScoreConfig(**settings | changed))
    return Path(settings["out"])


def test_vcf_with_other_names_gets_effects_and_notice(
    asked: SequenceModel, fasta: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"1\t{pos}\t.\t{ref}\t{alt}\t.\t.\t." for _, pos, ref, alt in VARIANTS]
    vcf = fasta.with_name("v.vcf")
    header = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    vcf.write_text(header + "\n".join([*rows, "Un_1\t1\t.\tA\tC\t.\t.\t."]) + "\n")
    out = run(asked, fasta.parent, vcf=str(vcf), unknown="skip")
    *scored, lost = Vcf(out).rows()
    for row, (_, *rest) in zip(scored, VARIANTS, strict=True):
        info = dict(part.split("=") for part in row.columns[7].decode().split(";"))
        wanted = by_hand(asked, *rest, label=1, window=60)
        assert (float(info["DNAMAMBA_EFFECT"]), float(info["DNAMAMBA_DISTANCE"])) == pytest.approx(
            wanted, rel=1e-4
        )
    assert lost.columns[7] == b"DNAMAMBA_UNSCORED=unknown_record"
    assert b'Description="Answer for root to the window with ALT minus' in b"".join(Vcf(out).header)
    assert "LLR" not in out.read_text()
    said = capsys.readouterr()
    assert "chromosome names matched by synonyms: 1 is chr1" in said.err
    assert "1 unknown_record" in said.out


def test_a_region_is_saturated_with_effects(asked: SequenceModel, fasta: Path) -> None:
    out = fasta.with_name("s.tsv")
    run(asked, fasta.parent, region="chr1:50-52", out=str(out), label='a "b"')
    header, *lines = [line.split("\t") for line in out.read_text().splitlines()]
    assert header == ["chrom", "pos", "ref", "alt", "effect", "distance"]
    assert len(lines) == 9
    for _, pos, ref, alt, *values in lines:
        wanted = by_hand(asked, int(pos), ref, alt, label=2, window=60)
        assert list(map(float, values)) == pytest.approx(wanted, rel=1e-4)


def test_label_that_is_not_models_is_refused(asked: SequenceModel, fasta: Path) -> None:
    genome = Genome(fasta, DNA)
    with pytest.raises(UserError, match=r"^label: the model has leaf, root, a \"b\"; name the one"):
        score_variants(asked, genome, [])
    with pytest.raises(UserError, match=r"^label: a pretrained model has none \(got 'root'\)"):
        score_variants(LanguageModel(MambaConfig(8, 1)), genome, [], label="root")


@pytest.mark.parametrize(
    "asked_for", [{"region": "chr1:50-51", "out": "s.tsv"}, {"vcf": "v.vcf", "out": "o.vcf"}]
)
def test_label_taken_of_two_is_said(
    fasta: Path, capsys: pytest.CaptureFixture[str], asked_for: dict[str, str]
) -> None:
    header = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    other = "A" if LETTERS[49] != "A" else "C"
    fasta.with_name("v.vcf").write_text(header + f"chr1\t50\t.\t{LETTERS[49]}\t{other}\t.\t.\t.\n")
    two = SequenceModel(MambaConfig(8, 1), DecoderConfig("classification", ("leaf", "root"), "mean")).eval()
    files = {key: name if key == "region" else str(fasta.with_name(name)) for key, name in asked_for.items()}
    run(two, fasta.parent, label=None, **files)
    said = "dnamamba: label=root, the second of leaf, root (label= chooses another)\n"
    assert capsys.readouterr().err == said


def test_sharing_the_flank_is_refused_where_windows_are_read_whole(asked: SequenceModel, fasta: Path) -> None:
    genome = Genome(fasta, DNA)
    variant = ("chr1", 100, LETTERS[99], "ACGT".replace(LETTERS[99], "")[0])
    with pytest.raises(UserError, match=r"^share=16: this model reads each window whole; leave it out$"):
        score_variants(asked, genome, [variant], label="leaf", share=16)


def test_window_left_out_is_as_long_as_training(
    asked: SequenceModel, fasta: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked.decoder = replace(asked.decoder, longest=40)
    ref, alt = LETTERS[99], "A" if LETTERS[99] != "A" else "C"
    found = score_variants(asked, Genome(fasta, DNA), [("chr1", 100, ref, alt)], label="root")
    wanted = by_hand(asked, 100, ref, alt, label=1, window=40)
    assert (found.llr[0], found.distance[0]) == pytest.approx(wanted, rel=1e-4)
    region = {"region": "chr1:100-100", "out": str(fasta.with_name("s.tsv")), "window": None}
    run(asked, fasta.parent, **region)
    said = "dnamamba: window=40, the length of the model's longest training sequence\n"
    assert said in capsys.readouterr().err
    rows = [line.split("\t") for line in fasta.with_name("s.tsv").read_text().splitlines()]
    assert [float(row[4]) for row in rows if row[3] == alt] == pytest.approx([wanted[0]], rel=1e-4)


def test_window_beyond_training_is_said(asked: SequenceModel) -> None:
    asked.decoder = replace(asked.decoder, longest=40)
    assert window_taken(asked, 40) == (40, None)
    assert window_taken(asked, 60) == (
        60,
        "window=60 is longer than every sequence the model was fine-tuned on, of at most 40 bases: leave it "
        "out to read 40",
    )


def test_positions_refuse_a_window_of_another_length(fasta: Path) -> None:
    decoder = DecoderConfig("classification", ("leaf", "root"), "positions", length=40)
    model = SequenceModel(MambaConfig(d_model=8, n_layer=1), decoder)
    assert window_taken(model, None)[0] == 40
    with pytest.raises(UserError, match=r"window: .* reads 40 bases alone \(got 60\); leave it out"):
        run(model, fasta.parent, region="chr1:100-100", out=str(fasta.with_name("s.tsv")))


def test_window_of_an_older_model_is_said_to_be_unknown(asked: SequenceModel) -> None:
    assert window_taken(asked, None) == (
        8192,
        "window=8192: the model does not say how long its training sequences were",
    )
    assert window_taken(asked, 60) == (60, None)
    assert window_taken(LanguageModel(asked.config), None) == (8192, None)


@pytest.mark.parametrize("window", [0, -3, "8", 2.5, True])
def test_window_that_is_not_a_number_of_bases_is_refused(
    window: Any, asked: SequenceModel, fasta: Path
) -> None:
    genome = Genome(fasta, DNA)
    variant = ("chr1", 100, LETTERS[99], "A" if LETTERS[99] != "A" else "C")
    told = replace(asked.decoder, longest=40)
    models = (LanguageModel(asked.config), None), (asked, "leaf"), (SequenceModel(asked.config, told), "leaf")
    for model, label in models:
        with pytest.raises(UserError, match=r"^window: must be (a whole number|at least 2 bases) \(got "):
            list(score_variants(model, genome, [variant], window=window, label=label))


@pytest.mark.parametrize(("place", "alt", "bases"), [(100, "ACG", 43), (1, "A", 21), (200, "A", 21)])
def test_positions_name_the_variant_of_another_length(place: int, alt: str, bases: int, fasta: Path) -> None:
    decoder = DecoderConfig("classification", ("leaf", "root"), "positions", length=41)
    model = SequenceModel(MambaConfig(d_model=8, n_layer=1), decoder)
    alt = alt if LETTERS[place - 1] != alt else "C"
    with pytest.raises(UserError, match=rf"^chr1:{place}: .* sequences of 41 bases alone .* has {bases};"):
        list(score_variants(model, Genome(fasta, DNA), [("chr1", place, LETTERS[place - 1], alt)]))


def scored(model: SequenceModel, fasta: Path, rows: list[tuple[int, str, str]], window: int | None) -> list:
    """INFO fields of each row, by name."""
    vcf = fasta.with_name("v.vcf")
    lines = [f"chr1\t{place}\t.\t{ref}\t{alt}\t.\t.\tEND=120" for place, ref, alt in rows]
    header = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    vcf.write_text(header + "\n".join(lines) + "\n")
    out = run(model, fasta.parent, vcf=str(vcf), window=window, overwrite=True)
    return [dict(part.split("=") for part in row.columns[7].decode().split(";")) for row in Vcf(out).rows()]


def test_alleles_of_another_length_get_a_status_and_others_scores(
    fasta: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(4)
    decoder = DecoderConfig("classification", ("leaf", "root"), "positions", length=41)
    model = SequenceModel(MambaConfig(d_model=8, n_layer=1), decoder).eval()
    torch.nn.init.normal_(model.head.weight, std=3)
    letter = LETTERS[99]
    alt = "A" if letter != "A" else "C"
    rows = [
        (100, letter, alt),
        (100, letter, f"{letter}AC,{alt},<DEL>"),
        (100, LETTERS[99:101], letter),
        (100, LETTERS[99:101], "AC" if LETTERS[99:101] != "AC" else "CA"),
        (20, LETTERS[19], "A" if LETTERS[19] != "A" else "C"),
        (21, LETTERS[20], "A" if LETTERS[20] != "A" else "C"),
    ]
    snp, several, deletion, exchange, cut, first = scored(model, fasta, rows, None)
    wanted = by_hand(model, 100, letter, alt, label=1, window=41)[0]
    assert float(snp["DNAMAMBA_EFFECT"]) == pytest.approx(wanted, rel=1e-4)
    assert several["DNAMAMBA_EFFECT"] == f".,{snp['DNAMAMBA_EFFECT']},."
    assert "DNAMAMBA_UNSCORED" not in snp | first
    reasons = [info["DNAMAMBA_UNSCORED"] for info in (several, deletion, exchange, cut)]
    assert reasons == ["other_length"] * 4
    said = capsys.readouterr().out
    assert "3 alleles of 6 rows" in said
    assert ", 4 other_length: " in said


def test_an_allele_beyond_the_longest_input_is_too_long(
    asked: SequenceModel, fasta: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MambaBackbone, "recurrent", False)
    monkeypatch.setattr(MambaBackbone, "max_length", 62)
    letter = LETTERS[99]
    rows = [(100, letter, f"{letter}AC"), (100, letter, f"{letter}ACG")]
    fits, beyond = scored(asked, fasta, rows, 60)
    assert "DNAMAMBA_EFFECT" in fits
    assert beyond == {"END": "120", "DNAMAMBA_UNSCORED": "too_long"}
    with pytest.raises(UserError, match=r"^chr1:100: .* at most 62 bases .*set a smaller window"):
        scored(asked, fasta, rows, 63)
