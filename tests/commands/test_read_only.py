"""Where a result can't be written: found before a step, in one line with what to do, as root too.

A path below a file stands for a folder that takes nothing: permissions do not hold for root.
"""

import importlib
import sys
from pathlib import Path

import pytest

from dnamamba.data.embedded import YEAST_FASTA, YEAST_MODEL

READ = (f"model={YEAST_MODEL}", f"fasta={YEAST_FASTA}", "device=cpu")
COMMANDS = {
    "embed": (*READ, "out=file/x.npz"),
    "tracks": (*READ, "out=file/x.bw"),
    "score": (*READ, "region=chrI:5-8", "out=file/x.tsv"),
    "attribute": (*READ, "region=chrI:5-20", "out=file/x.tsv"),
    "generate": (f"model={YEAST_MODEL}", "prompt=ACGT", "length=4", "device=cpu", "out=file/x.fa"),
    "export": (f"model={YEAST_MODEL}", "format=hf", "out=file/x"),
    "pretrain": ("hydra.run.dir=file/x",),
    "finetune": ("hydra.run.dir=file/x",),
    "benchmark": ("name=yeast_coding", f"model={YEAST_MODEL}", "hydra.run.dir=file/x"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_result_that_cannot_be_written_is_refused_before_work(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    monkeypatch.setattr(sys, "argv", [command, *COMMANDS[command]])
    with pytest.raises(SystemExit, match="1"):
        importlib.import_module(f"dnamamba.{command}").main()
    out, error = capsys.readouterr()
    assert "file/x" in error
    assert error.count("\n") == 1
    assert "; choose another" in error
    assert out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "mine"
