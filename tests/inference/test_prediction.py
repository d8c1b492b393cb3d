"""A fine-tuned model asked from Python: against the model itself on each sequence."""

from pathlib import Path

import numpy as np
import pytest
import torch

import dnamamba
from dnamamba import DecoderConfig, LanguageModel, MambaConfig, SequenceModel, UserError, get_alphabet
from dnamamba.inference.answers import Answers, with_strand
from dnamamba.inference.likelihood import View

from .conftest import random_dna

DNA = get_alphabet("dna")
GENOME = random_dna(400)


def asked(
    kind: str = "classification", labels: tuple[str, ...] = ("leaf", "root"), **how: str
) -> SequenceModel:
    torch.manual_seed(3)
    shift = {"shift": 5.0, "scale": 2.0} if kind == "regression" else {}
    model = SequenceModel(
        MambaConfig(d_model=8, n_layer=2), DecoderConfig(kind, labels, "mean", **shift, **how)
    )
    torch.nn.init.normal_(model.head.weight, std=3)
    torch.nn.init.normal_(model.backbone.embedding.weight, std=0.5)
    return model.eval()


def direct(model: SequenceModel, letters: str) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.from_numpy(DNA.encode(letters))[None])[0].double()


@pytest.mark.parametrize("strand", ["forward", "both"])
def test_sequences_of_all_lengths_match_the_model(strand: str) -> None:
    model = asked(strand=strand)
    letters = [GENOME[:n] for n in (1, 300, 16, 17, 64)]
    found = dnamamba.predict(model, letters, batch_size=2)
    wanted = torch.stack([direct(model, each) for each in letters])
    np.testing.assert_allclose(found.logits, wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.values, wanted.softmax(-1), rtol=1e-5, atol=1e-6)
    assert found.answers == [("leaf", "root")[int(row.argmax())] for row in wanted]
    assert [region.length for region in found.regions] == [1, 300, 16, 17, 64]


def test_long_sequence_is_read_in_pieces_with_state() -> None:
    model = asked(strand="both")
    rows = [(i, DNA.encode(GENOME[:n])) for i, n in enumerate((5, 300, 16, 33))]
    answers = Answers(model, piece=16, batch_size=8)
    parts = list(answers.logits(rows))
    assert [keys for keys, _ in parts] == [[0], [1], [2], [3]]
    for (_, logits), (_, ids) in zip(parts, rows, strict=True):
        np.testing.assert_allclose(logits[0], direct(model, DNA.decode(ids)), rtol=1e-5, atol=1e-6)


def test_minus_regions_and_windows_of_a_bed(tmp_path: Path) -> None:
    (tmp_path / "g.fa").write_text(f">chr1\n{GENOME}\n")
    (tmp_path / "r.bed").write_text("1\t10\t60\ta\t0\t+\n1\t10\t60\tb\t0\t-\n")
    model = asked()
    found = dnamamba.predict(model, (tmp_path / "g.fa", tmp_path / "r.bed"), window=25)
    other = DNA.decode(DNA.reverse_complement(DNA.encode(GENOME[10:60])))
    wanted = [direct(model, each) for each in (GENOME[10:35], GENOME[35:60], other[:25], other[25:])]
    np.testing.assert_allclose(found.logits, torch.stack(wanted), rtol=1e-5, atol=1e-6)
    assert [(r.name, r.start, r.end) for r in found.regions] == [
        ("a", 10, 35), ("a", 35, 60), ("b", 35, 60), ("b", 10, 35)
    ]  # fmt: skip


def test_the_other_strand_may_be_asked_for_later() -> None:
    forward, both = asked(), asked(strand="both")
    found = dnamamba.predict(forward, [GENOME], strand="both")
    np.testing.assert_allclose(found.logits[0], direct(both, GENOME), rtol=1e-5, atol=1e-6)
    assert with_strand(forward, None) is forward
    with pytest.raises(UserError, match=r"decoder\.strand: must be forward or both \(got 'reverse'\)"):
        with_strand(forward, "reverse")


@pytest.mark.parametrize(
    ("kind", "labels", "label", "value"),
    [
        ("classification", ("a", "b", "c"), "b", lambda z: z[1] - torch.logsumexp(z[[0, 2]], 0)),
        ("classification", ("a", "b"), None, lambda z: z[1] - z[0]),
        ("multilabel", ("a", "b", "c"), "c", lambda z: z[2]),
        ("regression", ("value",), None, lambda z: 5.0 + 2.0 * z[0]),
    ],
)
def test_allele_answer_is_that_of_its_window(kind, labels, label, value) -> None:
    model = asked(kind, labels)
    before, after = DNA.encode(GENOME[:30]), DNA.encode(GENOME[31:70])
    view = View(before, (DNA.encode("A"), DNA.encode("GTT")), after)
    values, logits = Answers(model, label=label).alleles([view])
    for allele, row, found in zip(("A", "GTT"), logits, values, strict=True):
        whole = direct(model, GENOME[:30] + allele + GENOME[31:70])
        np.testing.assert_allclose(row, whole, rtol=1e-5, atol=1e-6)
        assert found == pytest.approx(float(value(whole)), rel=1e-5)


def test_what_can_not_be_asked_is_one_line() -> None:
    three = asked("classification", ("a", "b", "c"))
    with pytest.raises(UserError, match=r"^label: the model has a, b, c \(got 'x'\)"):
        Answers(three, label="x")
    with pytest.raises(UserError, match=r"^label: the model has a, b, c; name the one"):
        Answers(three).label_number()
    with pytest.raises(UserError, match=r"^batch_size: must be at least 1 \(got 0\)"):
        dnamamba.predict(three, ["ACGT"], batch_size=0)
    with pytest.raises(UserError, match="pretrained model without a head"):
        dnamamba.predict(LanguageModel(MambaConfig(8, 1)), ["ACGT"])  # type: ignore[arg-type]
    torch.nn.init.constant_(three.head.bias, float("inf"))
    with pytest.raises(UserError, match=r"^0:1-4: the model computes values that are not finite"):
        dnamamba.predict(three, ["ACGT"])
