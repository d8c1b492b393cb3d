"""`train.compile=true`: the same losses as without, and one line where torch can't compile.

Only traced, and run as traced: inductor takes a C++ compiler, and minutes for a scan traced by positions.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig
from torch import nn

from dnamamba import UserError
from dnamamba.commands.finetune import finetune
from dnamamba.commands.pretrain import pretrain
from dnamamba.config import composed
from dnamamba.kernels import use
from dnamamba.reports.figures import read_metrics
from tests.finetuning.conftest import SHORT, write_table

# torch 2.13 warns of itself while it traces an autograd function.
pytestmark = pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
# A CPU's scan is traced position by position: short windows.
FEW = ("train.max_steps=1", "train.validate_every=1", "train.checkpoint_every=1", "data.max_length=8")


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[torch.fx.Graph]]:
    """The graphs that torch.compile made of a model."""
    graphs: list[torch.fx.Graph] = []

    def backend(module: torch.fx.GraphModule, inputs: list[Any]) -> Any:
        graphs.append(module.graph)
        return module.forward

    compile_module = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda self: compile_module(self, backend=backend))
    torch._dynamo.reset()
    yield graphs
    torch._dynamo.reset()


def losses(folder: Path) -> list[float]:
    rows = read_metrics(folder / "metrics.csv")
    return [row[name] for row in rows for name in ("train/loss", "val/loss", "test/loss") if name in row]


def test_compiled_pretraining_has_the_eager_losses(
    tiny: Callable[..., DictConfig], tmp_path: Path, traced: list[torch.fx.Graph]
) -> None:
    with use("chunked"):
        eager = pretrain(tiny(*FEW), tmp_path / "eager")
    assert not traced
    compiled = pretrain(tiny(*FEW, "train.compile=true"), tmp_path / "compiled")
    assert traced
    assert losses(tmp_path / "compiled") == pytest.approx(losses(tmp_path / "eager"), rel=1e-5)
    assert compiled["bits_per_base"] == pytest.approx(eager["bits_per_base"], rel=1e-5)


def test_compiled_finetuning_has_the_eager_losses(tmp_path: Path, traced: list[torch.fx.Graph]) -> None:
    own = (*SHORT, *FEW, f"data.table={write_table(tmp_path / 't.csv', 24)}")
    with use("chunked"):
        finetune(composed("finetune", own), tmp_path / "eager")
    finetune(composed("finetune", [*own, "train.compile=true"]), tmp_path / "compiled")
    assert traced
    found = losses(tmp_path / "compiled")
    assert len(found) == 4  # a step, its validation, and the two splits in the end
    assert found == pytest.approx(losses(tmp_path / "eager"), rel=1e-5)


def test_a_model_that_torch_cannot_compile_is_one_line(
    tiny: Callable[..., DictConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As without a C++ compiler, which inductor asks for when it is first called."""

    def backend(module: torch.fx.GraphModule, inputs: list[Any]) -> Any:
        raise RuntimeError("No working C++ compiler found")

    compile_module = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda self: compile_module(self, backend=backend))
    with pytest.raises(UserError, match=r"^train\.compile: .*No working C\+\+ compiler found") as caught:
        pretrain(tiny(*FEW, "train.compile=true"), tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert "train.compile=false" in str(caught.value)
    torch._dynamo.reset()
