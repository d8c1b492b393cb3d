"""A file that is not there: what its name may have been meant for."""

import sys
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from dnamamba import UserError
from dnamamba.commands.paths import check_given, check_out, check_paths
from dnamamba.config import composed


def test_a_folder_called_like_home_is_told_from_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "~").mkdir()
    (tmp_path / "~" / "x.fa").write_text(">a\nACGT\n")
    config = OmegaConf.create({"fasta": "~/x.fa"})
    with pytest.raises(UserError, match=r"^fasta: no such file, ~/x\.fa; .* write '\./~/x\.fa', in quotes$"):
        check_paths(config, "fasta")
    check_paths(OmegaConf.create({"fasta": "./~/x.fa"}), "fasta")


def test_a_name_of_the_hub_is_not_taken_for_a_missing_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    check_paths(OmegaConf.create({"model": "owner/name"}), "model")
    (tmp_path / "runs").mkdir()
    with pytest.raises(UserError, match=r"^model: no model at runs/first"):
        check_paths(OmegaConf.create({"model": "runs/first"}), "model")


@pytest.mark.parametrize(
    ("command", "overrides", "key"),
    [
        ("predict", ("model=m", "fasta=g.fa", "bed=r.bed", "out=r.bed"), "bed"),
        ("predict", ("model=m", "table=t.csv", "out=../here/t.csv"), "table"),
        ("predict", ("model=m", "table=t.csv", "out=link.csv"), None),  # the link gives way, not its file
        ("predict", ("model=m", "table=link.csv", "out=t.csv"), "table"),
        ("predict", ("model=m", "table=link.csv", "out=link.csv"), "table"),
        ("generate", ("fasta=g.fa", "length=9", "out=./g.fa"), "fasta"),
        ("score", ("vcf=t.csv", "fasta=g.fa", "out=t.csv"), "vcf"),
        ("embed", ("model=m", "fasta=g.fa", "out=g.fa.npz"), None),
        ("plan", (), None),
    ],
)
def test_output_in_place_of_an_input_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, overrides: tuple[str, ...], key: str | None
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    for name in ("g.fa", "r.bed", "t.csv"):
        (here / name).write_text("x")
    (here / "link.csv").symlink_to("t.csv")
    cfg = composed(command, overrides)
    with nullcontext() if key is None else pytest.raises(UserError, match=f"is the file of {key}, which is"):
        check_out(cfg)


def test_every_file_of_a_map_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "genome (1).fa").write_text(">a\nACGT\n")
    species = {"human": "genome (1).fa", "mouse": ["genome (1).fa", "genome (2).fa"], "cow": None}
    config = OmegaConf.create({"data": {"species": species}})
    said = r"^data\.species\.mouse: no such file, genome \(2\)\.fa; did you mean genome \(1\)\.fa\?$"
    with pytest.raises(UserError, match=said):
        check_paths(config, "data.species")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            ["experiment=yeast_genes", "data.fasta=t.bw", "data.annotation=a.gff3"],
            "data.annotation: no such file, a.gff3",
        ),
        (
            ["data=annotation", "data.classes=[CDS]", "data.fasta=g.fa", "data.annotation=t.bw"],
            "data.fasta: no such file, g.fa",
        ),
        (["data.classes=[CDS]"], r"data.classes: expected \{name: value\} \(got \['CDS'\]\)$"),
        (["data=tracks", "data.fasta=t.bw", "data.tracks={a: t.bw, b: u.bw}"], "data.tracks.b: no such file"),
    ],
)
def test_kinds_of_features_are_not_paths_but_their_files_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("t.bw").touch()
    with pytest.raises(UserError, match=f"^{said}"):
        import_module("dnamamba.finetune").run(composed("finetune", given))


def test_last_and_auto_are_not_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for word in ("last", "auto"):
        check_paths(OmegaConf.create({"ckpt_path": word}), "ckpt_path")
    with pytest.raises(UserError, match=r"^ckpt_path: no such file, first"):
        check_paths(OmegaConf.create({"ckpt_path": "first"}), "ckpt_path")


@pytest.mark.parametrize(
    ("command", "given"),
    [
        ("pretrain", ["data.fasta=absent.fa"]),
        ("finetune", ["data.table=absent.fa"]),
        ("finetune", ["data.classes={a: [m, absent.fa]}"]),
        ("finetune", ["data.batch_size=absent.fa"]),
        ("attribute", ["region=a:1-2", "out=o", "fasta=absent.fa"]),
        ("predict", ["model=m", "out=o", "table=absent.fa"]),
        ("embed", ["model=m", "out=o", "fasta=absent.fa"]),
        ("score", ["out=o", "vcf=absent.fa"]),
        ("tracks", ["model=m", "out=o", "fasta=absent.fa"]),
        ("generate", ["out=o", "fasta=absent.fa"]),
        ("export", ["model=absent.fa", "format=hf", "out=o"]),
        ("benchmark", ["name=yeast_bits", "model=absent.fa"]),
    ],
)
def test_a_wrong_name_is_told_before_torch_is_loaded(
    command: str, given: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m").mkdir()
    # What a command does once its files are there is to import its module of dnamamba.commands.
    monkeypatch.setitem(sys.modules, f"dnamamba.commands.{command}", None)
    run = import_module(f"dnamamba.{command}").run
    with pytest.raises(UserError, match=r"absent\.fa"):
        run(composed(command, given))


@pytest.mark.parametrize(
    ("command", "given", "missing"),
    [
        ("predict", [], "model, out, fasta or table"),
        ("predict", ["table=t.csv"], "model, out"),
        ("score", ["model=m"], "out, vcf or region"),
        ("generate", ["prompt=A"], "out"),
        ("generate", [], "out, prompt or fasta"),
        ("embed", [], "fasta, model, out"),
        ("export", ["out=o"], "format, model"),
        ("benchmark", [], "name"),
        ("attribute", ["out=o.tsv"], "region"),
        ("pretrain", ["data=hg38"], "data.fasta, data.intervals"),
    ],
)
def test_missing_settings_are_named_together(command: str, given: list[str], missing: str) -> None:
    with pytest.raises(UserError) as error:
        import_module(f"dnamamba.{command}").run(composed(command, given))
    assert str(error.value) == f"{missing}: must be given"


def test_both_keys_that_annotation_needs_are_named_together() -> None:
    with pytest.raises(
        UserError, match=r"^data\.regions\.feature, data\.regions\.label: g\.gff3 has rows of"
    ):
        import_module("dnamamba.finetune").run(composed("finetune", ["data.fasta=g.fa", "data.bed=g.gff3"]))


def test_one_of_several_is_left_to_the_command() -> None:
    check_given(composed("score", ["out=o"]), ("vcf", "region"))
