"""A checkpoint that is whole, but holds other things than its run's model and optimiser take."""

import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from dnamamba import UserError, load
from dnamamba.training.optim import parameter_groups
from dnamamba.training.resumable import check_resumable
from tests.robustness.killed import COMMANDS, inputs
from tests.robustness.killing import run

OVERRIDES = [
    *(each for each in COMMANDS["finetune"][0] if not each.startswith(("model=", "scratch."))),
    *("model=small", "task.lora_rank=2"),
]
A, B = "model.0.weight", "model.1.weight"
IN_A_RUN = ("no optimiser", "moment", "steps")
Change = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fine-tuning with adapters that was killed before its results, with its inputs."""
    folder = tmp_path_factory.mktemp("stopped") / "folder"
    inputs(folder)
    status, _ = run("finetune", OVERRIDES, folder)
    assert status == 0, (folder.parent / "log").read_text()
    (folder / "run" / "metrics.json").unlink()
    return folder


def optimizer(checkpoint: dict[str, Any]) -> dict[str, Any]:
    return checkpoint["optimizer_states"][0]


def weight(name: str, change: Callable[[torch.Tensor], object]) -> Change:
    def apply(checkpoint: dict[str, Any]) -> None:
        checkpoint["state_dict"][name] = change(checkpoint["state_dict"][name])

    return apply


def moment(name: str, change: Callable[[Any], object]) -> Change:
    def apply(checkpoint: dict[str, Any]) -> None:
        state = optimizer(checkpoint)["state"][0]
        state[name] = change(state[name])

    return apply


CHANGES: dict[str, tuple[Change, str]] = {
    "missing": (lambda c: c["state_dict"].pop(A), r"0\.weight is missing"),
    "extra": (lambda c: c["state_dict"].update({A + "2": torch.ones(1)}), r"weight2 is unknown"),
    "rank": (weight(A, lambda t: torch.cat([t, t[:1]])), r"float32 \[2, 8\] \(got float32 \[3, 8\]\)"),
    "integers": (weight(A, lambda t: t.int()), r"must be float32 \[2, 8\] \(got int32 \[2, 8\]\)"),
    "half": (weight(A, lambda t: t.half()), r"\(got float16 \[2, 8\]\)"),
    "complex": (weight(A, lambda t: t.to(torch.complex64)), r"\(got complex64 \[2, 8\]\)"),
    "sparse": (weight(A, lambda t: t.to_sparse()), r"0\.weight must be float32 \[2, 8\]"),
    "text": (weight(B, lambda t: "x"), r"1\.weight must be float32 \[32, 2\] \(got str\)"),
    "no optimiser": (lambda c: c.pop("optimizer_states"), r"the state of one optimiser \(got NoneType\)"),
    "no state": (lambda c: c.update(optimizer_states=[]), r"the state of one optimiser \(got list\)"),
    "groups": (lambda c: optimizer(c)["param_groups"].pop(), r"param_groups are of other parameters"),
    "moment": (moment("exp_avg", lambda t: torch.zeros(3)), r"0\.exp_avg must be .* \(got float32 \[3\]\)"),
    "squares": (moment("exp_avg_sq", lambda t: t - 1), r"state\.0\.exp_avg_sq holds squares below 0"),
    "step": (moment("step", lambda t: "x"), r"state\.0\.step must be a number of steps \(got str\)"),
    "no step": (
        moment("step", lambda t: t * math.nan),
        r"step must be a number of steps \(got float32 \[\]\)",
    ),
    "no moments": (lambda c: optimizer(c)["state"].clear(), r"state is empty after 6 steps"),
    "no map": (lambda c: optimizer(c)["state"].update({0: 1}), r"state\.0 must be a map \(got int\)"),
    "steps": (lambda c: c.update(global_step=4), r"global_step must be 6, as the optimiser .* \(got 4\)"),
    "epoch": (lambda c: c.update(epoch="x"), r"epoch must be int \(got str\)"),
    "loops": (lambda c: c.update(loops={}), r"loops has no fit_loop"),
    "schedulers": (lambda c: c.pop("lr_schedulers"), r"lr_schedulers must be list \(got NoneType\)"),
    "version": (lambda c: c.update({"pytorch-lightning_version": "x"}), r"must be a version \(got 'x'\)"),
}


def trained() -> tuple[nn.Module, dict[str, Any]]:
    """Return a model after six steps, and its checkpoint as Lightning writes it."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 2, bias=False), nn.Linear(2, 32))
    steps = torch.optim.AdamW(parameter_groups(model, 0.1), lr=0.1)
    for _ in range(6):
        model(torch.ones(1, 8)).square().sum().backward()
        steps.step()
        steps.zero_grad()
    weights = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    counts = {"global_step": 6, "epoch": 0, "loops": {"fit_loop": {}}, "callbacks": {}, "lr_schedulers": []}
    states = {"state_dict": weights, "optimizer_states": [steps.state_dict()]}
    return model, {**states, **counts, "pytorch-lightning_version": "2.6.0"}


def test_a_checkpoint_of_the_run_is_taken() -> None:
    model, checkpoint = trained()
    check_resumable(checkpoint, {"model": model}, 1.0, Path("last.ckpt"))


@pytest.mark.parametrize("name", CHANGES)
def test_a_checkpoint_of_other_contents_is_refused(name: str) -> None:
    change, message = CHANGES[name]
    model, checkpoint = trained()
    change(checkpoint)
    with pytest.raises(UserError, match=r"last\.ckpt is not of this run: ") as refused:
        check_resumable(checkpoint, {"model": model}, 1.0, Path("last.ckpt"))
    assert re.search(message, str(refused.value)), refused.value


@pytest.mark.parametrize("name", IN_A_RUN)
def test_a_run_with_adapters_refuses_it_in_one_line(name: str, stopped: Path) -> None:
    change, message = CHANGES[name]
    path = stopped / "run" / "checkpoints" / "last.ckpt"
    whole = path.read_bytes()
    files = {each.name for each in (stopped / "run").iterdir()}
    checkpoint = torch.load(path, weights_only=True)
    change(checkpoint)
    torch.save(checkpoint, path)
    try:
        status, _ = run("finetune", OVERRIDES, stopped)
    finally:
        path.write_bytes(whole)
    said = (stopped.parent / "log").read_text().splitlines()
    assert status == 1, said
    assert len(said) == 1, said
    assert "last.ckpt is not of this run: " in said[0]
    assert re.search(message, said[0]), said
    assert {each.name for each in (stopped / "run").iterdir()} == files


def test_an_unfinished_run_in_place_of_a_model_is_named(stopped: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(stopped / "run" / "checkpoints", folder / "checkpoints")
    with pytest.raises(UserError, match=rf"no model at {folder}: its run is not finished; .*, {folder}"):
        load(folder)
