"""A user's YAML files: what would expand without end, or is not text, is one line that names the file."""

import sys
from pathlib import Path

import pytest

from dnamamba import UserError
from dnamamba.commands.experiments import conf_dir
from dnamamba.commands.yaml_files import check_folders
from dnamamba.config import command
from dnamamba.documents import check_file

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n"
    for before, name in zip("abcdefg", "bcdefgh", strict=True)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LAUGHS, "its aliases expand to more than 100,000 values"),
        ("data: &d\n  x: *d\n", r"\*d holds itself"),
        (f"x: {'[' * 5000}{']' * 5000}\n", "nested more than 100 levels deep"),
        ("x: y\n" * 300_000, "more than 1,048,576 bytes"),
        (b"x: \xff\xfe\n", "not UTF-8 text"),
    ],
)
def test_a_file_without_end_is_refused_at_once(text: str | bytes, message: str, tmp_path: Path) -> None:
    refused(text, rf": {message}", tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train:\n  seed: 1\n  # x\n  seed: 2\n", ", line 4: seed is there twice, first in line 2; keep one"),
        ("data:\n  classes: {1: a, '1': b}\n", ", line 2: 1 is there twice, first in line 2; keep one"),
        ("a: &a {x: 1}\nb:\n  <<: *a\n  <<: *a\n", ", line 4: << is there twice, first in line 3"),
        ("a:\n- {x: [1, {y: 1}], y: 1}\n- x: 1\n  y:\n    x: 2\n  x: 3\n", ", line 6: x is there twice"),
    ],
)
def test_a_key_twice_is_named_with_its_line(text: str, message: str, tmp_path: Path) -> None:
    refused(text, message, tmp_path)


def refused(text: str | bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "experiment" / "x.yaml"
    path.parent.mkdir()
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    for arguments in (
        ["--config-dir", str(tmp_path)],
        [f"-cd={tmp_path}", "train.seed=1"],
        [f"hydra.searchpath=[pkg://conf,file://{tmp_path}]"],
    ):
        with pytest.raises(UserError, match=rf"x\.yaml{message}"):
            check_folders(arguments)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a: &a {x: 1}\nb: {<<: *a, y: 2}\nc: [*a, *a]\n",
        "x: *nobody\n",
        "x: [\n",
        "\tx: 1\n",
        LAUGHS[:150],
        "a: {x: 1, y: {x: 2}}\nx: [{x: 1}, {x: 1}]\n[x]: 1\n",
    ],
)
def test_what_is_small_or_left_to_hydra_passes(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(text)
    check_file(tmp_path / "x.yaml")


def test_every_configuration_of_the_package_has_each_key_once() -> None:
    files = [*conf_dir().rglob("*.yaml")]
    assert len(files) > 50
    for path in files:
        check_file(path)


def test_a_nested_override_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(sys, "argv", ["pretrain", f"train.seed={'[' * 3000}{']' * 3000}"])
    with pytest.raises(SystemExit):
        command(lambda cfg: None, "pretrain")
    assert capsys.readouterr().err == "dnamamba: error: the command line is nested too deeply\n"
