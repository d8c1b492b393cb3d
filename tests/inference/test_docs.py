"""The Python of docs/generation.md and docs/variants.md runs as it is printed."""

import re
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parents[2] / "docs"


def run_snippets(page: str, saved_model: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for code in re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), flags=re.DOTALL):
        exec(code.replace("logs/pretrain/runs/<time>", str(saved_model)), found)
    return found


def test_generation(saved_model: Path) -> None:
    found = run_snippets("generation.md", saved_model)
    assert [len(sequence) for sequence in found["sequences"]] == [1000] * 4


def test_variants(saved_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "genome.fa").write_text(">chrI\n" + "CGTT" * 385 + "CGTA" + "GACT" * 300 + "\n")
    effects = run_snippets("variants.md", saved_model)["effects"]
    assert effects.llr.shape == effects.distance.shape == (2,)
    assert (effects.distance > 0).all()
