"""Pseudo-likelihood of a masked model: each value compared with reading it masked alone."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from dnamamba import LanguageModel, get_alphabet, reached, save_model, tracks
from dnamamba.commands.score import ScoreConfig, score
from dnamamba.data.fasta import Genome
from dnamamba.inference.effects import Site, Windows, score_sites
from dnamamba.models.caduceus.config import CaduceusConfig
from dnamamba.models.transformer.config import TransformerConfig

from .conftest import random_dna

DNA = get_alphabet("dna")
LETTERS = random_dna(83)
IDS = torch.from_numpy(DNA.encode(LETTERS).copy()).long()


@pytest.fixture(params=["ps", "ph", "transformer"])
def model(request: pytest.FixtureRequest) -> LanguageModel:
    torch.manual_seed(0)
    config = {
        "ps": CaduceusConfig(d_model=12, n_layer=2),
        "ph": CaduceusConfig(d_model=12, n_layer=2, equivariant=False),
        "transformer": TransformerConfig(d_model=16, n_layer=2, d_head=8, bidirectional=True),
    }[request.param]
    made = LanguageModel(config).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return made


def told(model: LanguageModel, ids: torch.Tensor, places: list[int]) -> torch.Tensor:
    """Log-probabilities [places, V] where these places are masked together."""
    masked = ids.clone()
    masked[places] = DNA.mask_id
    with torch.no_grad():
        return model(masked[None]).logits[0, places].log_softmax(-1)


def test_tracks_mask_every_eighth_base_at_a_time(model: LanguageModel) -> None:
    wanted = np.full((2, 83), math.nan)
    for offset in range(8):
        places = list(range(offset, 83, 8))
        log_p = told(model, IDS, places)
        wanted[0, places] = log_p.gather(1, IDS[places, None])[:, 0] / math.log(2)
        wanted[1, places] = -(log_p.exp() * log_p).sum(1) / math.log(2)
    wanted[:, [letter == "N" for letter in LETTERS]] = math.nan
    (found,) = tracks(model, [LETTERS])
    np.testing.assert_allclose(np.stack(found), wanted, rtol=1e-4, atol=1e-5)
    assert not np.isnan(found.log_likelihood[0])


def test_tracks_do_not_depend_on_the_piece_read(
    model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dnamamba.inference import streaming

    wanted = np.stack(tracks(model, [LETTERS])[0])
    monkeypatch.setattr(streaming, "_PIECE", {"cpu": 170, "cuda": 170})
    np.testing.assert_allclose(np.stack(tracks(model, [LETTERS])[0]), wanted, rtol=1e-4, atol=1e-5)


def test_ps_says_the_same_of_both_strands(model: LanguageModel) -> None:
    """In its own order, with masks of its own: for 81 bases these lie at the same places."""
    letters = LETTERS[:81]
    other = DNA.decode(DNA.reverse_complement(DNA.encode(letters)))
    one, two = (np.stack(each) for each in tracks(model, [letters, other]))
    same = np.allclose(one, two[:, ::-1], rtol=1e-5, atol=1e-5, equal_nan=True)
    assert same == model.backbone.equivariant


def site_of(folder: Path, start: int, ref: str, *alts: str) -> tuple[Genome, Site]:
    letters = LETTERS[:start] + ref + LETTERS[start + len(ref) :]
    (folder / "g.fa").write_text(f">a\n{letters}\n")
    alleles = tuple(DNA.encode(each) for each in (ref, *alts))
    return Genome(folder / "g.fa", DNA), Site("a", start, alleles)


def test_a_substitution_is_the_ratio_in_one_prediction(model: LanguageModel, tmp_path: Path) -> None:
    genome, site = site_of(tmp_path, 40, "A", "C", "G", "T")
    found = next(score_sites(model, genome, [site], Windows(81, strand="forward")))
    ids = torch.from_numpy(genome.fetch("a", 0, 81).copy()).long()
    log_p = told(model, ids, [40])[0]
    np.testing.assert_allclose(found.llr, log_p[1:4] - log_p[0], rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        windows = [torch.cat([ids[:40], torch.tensor([base]), ids[41:]]) for base in range(4)]
        known = [window < 4 for window in windows]
        means = [
            model.backbone(window[None]).hidden[0, which].double().mean(0)
            for window, which in zip(windows, known, strict=True)
        ]
    distance = [(mean - means[0]).norm().item() for mean in means[1:]]
    np.testing.assert_allclose(found.distance, distance, rtol=1e-3, atol=1e-5)


def test_ps_scores_alike_on_both_strands(model: LanguageModel, tmp_path: Path) -> None:
    genome, site = site_of(tmp_path, 40, "A", "C", "G", "T", "AC")
    one, two = (
        next(score_sites(model, genome, [site], Windows(81, strand=strand))).llr
        for strand in ("forward", "reverse")
    )
    assert np.allclose(one, two, rtol=1e-5, atol=1e-5) == model.backbone.equivariant


def test_scoring_tells_how_far_it_is_before_the_first_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bases = LETTERS.replace("N", "A")
    (tmp_path / "g.fa").write_text(f">a\n{bases}\n")
    rows = [
        f"a\t{at}\t.\t{bases[at - 1]}\t{'CGTA'['ACGT'.index(bases[at - 1])]}\t.\t.\t." for at in (30, 40, 50)
    ]
    rows.insert(1, f"a\t35\t.\t{bases[34]}\t*\t.\t.\t.")
    header = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    (tmp_path / "v.vcf").write_text(header + "\n".join(rows) + "\n")
    save_model(LanguageModel(CaduceusConfig(d_model=8, n_layer=1)), tmp_path / "model")
    monkeypatch.setattr(reached, "SILENCE", 0.0)
    settings = {"model": "model", "vcf": "v.vcf", "fasta": "g.fa", "out": "out.vcf"}
    paths = {key: str(tmp_path / name) for key, name in settings.items()}
    score(
        ScoreConfig(
            **paths, region=None, window=31, shifts=[0], strand="forward", device="cpu", precision="fp32",
            bases_per_batch=40, overwrite=False,
        )
    )  # fmt: skip
    *lines, last = capsys.readouterr().out.splitlines()
    assert [line.partition(",")[0] for line in lines] == [
        f"scoring: {done} of 4 rows" for done in (1, 2, 3, 4)
    ]
    assert last.startswith("3 alleles of 4 rows")


def test_an_insertion_is_asked_base_by_base(model: LanguageModel, tmp_path: Path) -> None:
    genome, site = site_of(tmp_path, 30, "G", "GTN", "T")
    found = next(score_sites(model, genome, [site], Windows(41, strand="forward")))
    left, right = (torch.from_numpy(genome.fetch("a", *part).copy()).long() for part in ((10, 30), (31, 51)))

    def value(allele: str) -> float:
        ids = torch.cat([left, torch.from_numpy(DNA.encode(allele).copy()).long(), right])
        places = [20 + i for i, letter in enumerate(allele) if letter != "N"]
        return sum(told(model, ids, [place])[0, ids[place]].item() for place in places)

    wanted = [value("GTN") - value("G"), value("T") - value("G")]
    np.testing.assert_allclose(found.llr, wanted, rtol=1e-4, atol=1e-5)
