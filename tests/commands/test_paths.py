"""A file that is not there: what its name may have been meant for."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from dnamamba import UserError
from dnamamba.commands.paths import check_paths


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
