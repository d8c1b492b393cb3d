"""Every key of every command with nothing for a value: refused by its name, or documented as none."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dnamamba.commands import finetune, plan, pretrain
from dnamamba.commands.experiments import conf_dir
from dnamamba.commands.mistakes import one_line
from dnamamba.commands.overrides import GROUPS, MAY_BE_EMPTY, as_typed
from dnamamba.config import composed, settled, typed
from dnamamba.errors import UserError
from dnamamba.planning.plan import Plan
from dnamamba.training.finetuning import Finetuning
from dnamamba.training.pretraining import Pretraining

# A whole command line of each command, for each data set it may have.
WHOLE = {
    "pretrain genome": ("data.fasta=f",),
    "pretrain bytes": ("data.path=f",),
    "pretrain induction_heads": (),
    "pretrain selective_copying": (),
    "finetune labelled": ("data.table=t", "model=scratch"),
    "finetune species": ("data.species.human=f", "data.species.gorilla=g"),
    "finetune annotation": ("data.fasta=f", "data.annotation=a"),
    "finetune tracks": ("data.fasta=f", "data.tracks={a: b}"),
    "plan": ("data.fasta=f",),
    "predict": ("model=m", "out=o", "fasta=f"),
    "embed": ("model=m", "out=o", "fasta=f"),
    "score": ("out=o", "fasta=f", "region=a:1-2"),
    "attribute": ("out=o", "region=a:1-2"),
    "tracks": ("model=m", "out=o", "fasta=f"),
    "generate": ("out=o",),
    "export": ("model=m", "format=hf", "out=o"),
    "benchmark": ("name=n",),
    "report": ("run=r",),
    "demo": (),
}
# Lists that say "none", as conf/ explains.
LISTS = {"plugins", "circular", "regions.circular", "data.regions.circular", "data.circular"}
LISTS |= {"data.valid", "data.test", "data.markov_orders", "data.pairs"}
# Null is absence where it is the default, and says "none" or "of the other unit" for these.
NULLS = {"train.max_steps", "train.global_batch_size", "train.gradient_clip", "task.patience", "plugins"}
NULLS |= {"data.batch_size", "data.valid_windows", "data.alphabet", "batch_size", "vocab_size"}
NULLS |= {"data.valid", "data.test"}  # chosen by the data set
WITH_A_FILE = {"data.fasta", "data.table", "fasta", "region", "out", "model"}
OWN = ("logger", "callbacks")  # another package's


class Reached(Exception):  # noqa: N818
    """All settings were taken."""


@pytest.fixture(autouse=True)
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the settings are known, work would begin."""

    def begin(*_: Any, **__: Any) -> Plan:
        raise Reached

    monkeypatch.setattr(Pretraining, "build", begin)
    monkeypatch.setattr(Finetuning, "build", begin)
    monkeypatch.setattr(plan, "plan_run", begin)


def settings_of(command: str) -> Callable[[DictConfig], Any]:
    """What a command does first: its settings of a configuration."""
    if command == "plan":
        return plan.plan_pretraining
    if command == "pretrain":
        return lambda cfg: pretrain.pretrain_and_judge(cfg, Path("run"))
    if command == "finetune":
        return lambda cfg: finetune.finetune_and_judge(cfg, Path("run"))
    config = getattr(import_module(f"dnamamba.commands.{command}"), f"{command.capitalize()}Config")
    return lambda cfg: typed(cfg, config, "")


def keys_of(group: DictConfig, before: str = "") -> Iterator[str]:
    for key in map(str, group):
        yield f"{before}{key}"
        inner = group._get_node(key)
        if isinstance(inner, DictConfig) and not (inner._is_none() or inner._is_missing()):
            yield from keys_of(inner, f"{before}{key}.")


def refusal(read: Callable[[DictConfig], Any], cfg: DictConfig, key: str, value: Any) -> str | None:
    """What a command says of a value; None where it takes it."""
    changed = cfg.copy()
    OmegaConf.update(changed, key, value, merge=False)
    try:
        read(settled(changed, []))
    except Reached:
        return None
    except (UserError, OmegaConfBaseException) as error:
        return one_line(error)
    return None


def keys_to_try(command: str) -> tuple[DictConfig, list[str]]:
    """The configuration, and its keys that no other row of `WHOLE` has."""
    name, _, data = command.partition(" ")
    cfg = composed(name, [*([f"data={data}"] if data else []), *WHOLE[command]])
    own = {"genome": "", "labelled": "", "": ""}.get(data, "data.")
    own = "plan." if name == "plan" else own
    return cfg, [key for key in keys_of(cfg) if key.startswith(own) and key.partition(".")[0] not in OWN]


@pytest.mark.parametrize("command", WHOLE)
def test_empty_value_of_any_key_is_refused_by_name(command: str) -> None:
    cfg, keys = keys_to_try(command)
    read = settings_of(command.partition(" ")[0])
    with suppress(Reached):  # raised by a command that does more than read its settings
        read(cfg)
    taken = set()
    for key in keys:
        for empty in ("", "''", '" "', "{}", "{ }")[: 3 if key in MAY_BE_EMPTY else 5]:
            with pytest.raises(UserError, match=rf"^{key}: is empty; give a "):
                as_typed([f"{key}={empty}"], model_is_a_path=False)
        said = refusal(read, cfg, key, [])
        if said is None:
            taken.add(key)
        else:
            assert said.startswith(key), said
            assert "\n" not in said
    assert taken == LISTS & set(keys)


@pytest.mark.parametrize("name", sorted(GROUPS))
def test_empty_choice_of_group_is_refused(name: str) -> None:
    """To Hydra `objective=[]` is the default objective."""
    assert (conf_dir() / name).is_dir()
    for empty in ("[]", "[ ]", "null"):
        with pytest.raises(UserError, match=rf"^{name}: is empty; give a "):
            as_typed([f"{name}={empty}"], model_is_a_path=False)


@pytest.mark.parametrize("command", WHOLE)
def test_null_is_refused_by_name_or_documented(command: str) -> None:
    cfg, keys = keys_to_try(command)
    read = settings_of(command.partition(" ")[0])
    for key in keys:
        if key in NULLS | WITH_A_FILE or OmegaConf.select(cfg, key) is None:
            continue
        said = refusal(read, cfg, key, None)
        assert said is not None, key
        assert key.partition(".species.")[0].rpartition(".")[2] in said
        assert "\n" not in said
