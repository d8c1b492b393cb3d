"""What a training leaves in a notebook: one bar, and text around it, however many steps it has."""

import os
from itertools import groupby
from pathlib import Path

import pytest

CELL = """
from dnamamba import GenomeConfig, MambaConfig, Pretraining, TrainConfig
data = GenomeConfig(fasta="genome.fa", valid=["two"], test=["three"], max_length=32, batch_size=4,
                    valid_windows=4, markov_orders=[])
train = TrainConfig(max_steps=60, global_batch_size=4, validate_every=20, log_every=1)
result = Pretraining("run", data, MambaConfig(d_model=8, n_layer=1), train=train).run()
"""


def test_training_in_notebook_draws_one_bar(
    genome: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """60 steps and 3 validations: text before the bar, the bar, text after it."""
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("PYTHONPATH", os.fspath(Path(__file__).parents[2]))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "jupyter"))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    resources = {"metadata": {"path": str(genome.parent)}}
    quiet = ["--log-level=ERROR"]
    NotebookClient(notebook, resources=resources, extra_arguments=quiet).execute()
    # Jupyter joins text that follows text. On the error stream a library says whether widgets are installed.
    outputs = [output for output in notebook.cells[0].outputs if output.get("name") != "stderr"]
    joined = [(kind, list(parts)) for kind, parts in groupby(outputs, lambda output: output.output_type)]
    assert [kind for kind, _ in joined] == ["stream", "display_data", "stream"]
    (_, before), (_, (bar,)), (_, lines) = joined
    assert before[0].text.startswith("Mamba with ")
    assert "pretraining ━" in bar.data["text/plain"]
    assert " 60/60 " in bar.data["text/plain"]
    after = "".join(part.text for part in lines)
    assert [line.partition(":")[0] for line in after.splitlines() if "validation" in line] == [
        "step 20",
        "step 40",
        "step 60",
    ]
    assert "\x1b" not in after
