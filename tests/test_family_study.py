"""What studies/families.py makes of its runs: perplexities, and leads of a paired bootstrap."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def study() -> ModuleType:
    path = Path(__file__).parent.parent / "studies" / "families.py"
    spec = importlib.util.spec_from_file_location("study_of_families", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def predictions(folder: Path, right: list[bool]) -> None:
    folder.mkdir(parents=True)
    rows = [f"s{i}\ttest\ta\t{'a' if each else 'b'}" for i, each in enumerate(right)]
    rows.append("v\tvalid\ta\tb")
    (folder / "predictions.tsv").write_text("\n".join(["id\tsplit\tlabel\tpredicted", *rows]) + "\n")


def test_lead_is_difference_of_test_accuracies(study: ModuleType, tmp_path: Path) -> None:
    predictions(tmp_path / "a", [True] * 70 + [False] * 30)
    predictions(tmp_path / "b", [True] * 60 + [False] * 40)
    found = study.lead(tmp_path / "a", tmp_path / "b")
    assert found["lead_over_mamba"] == 0.1
    # Paired, the ten gains of a hundred have a standard error of 0.03; unpaired it would be 0.067.
    assert (found["lead_low"], found["lead_high"]) == (
        pytest.approx(0.05, abs=0.011),
        pytest.approx(0.16, abs=0.011),
    )
    assert study.lead(tmp_path / "a", tmp_path / "a") == {}
    predictions(tmp_path / "c", [True] * 50)
    assert study.lead(tmp_path / "a", tmp_path / "c") == {}


@pytest.mark.parametrize(
    ("family", "metric", "best"), [("mamba", "bits_per_base", 1.9), ("caduceus", "bits_per_masked_base", "")]
)
def test_rows_say_perplexity_and_best_markov(
    study: ModuleType, tmp_path: Path, family: str, metric: str, best: float | str
) -> None:
    folder = tmp_path / f"{family}_1024"
    (folder / "model").mkdir(parents=True)
    results = {
        metric: {"valid": 1.5},
        "markov_bits_per_base": {"valid": {"0": 1.95, "8": 1.9} if best else {}},
        "bases": 10,
        "training_seconds": 2.0,
    }
    (folder / "results.json").write_text(json.dumps(results))
    (folder / "model" / "config.json").write_text(json.dumps({"model": {"d_model": 8, "n_layer": 1}}))
    (row,) = study.numbers(folder)
    assert (row["family"], row["length"], row["perplexity"], row["best_markov"]) == (
        family,
        1024,
        2.8284,
        best,
    )
