"""Settings that are unknown, of the wrong shape or without effect are refused, or give way to typed ones."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from dnamamba.auto import AUTO
from dnamamba.errors import UserError
from dnamamba.plugins import load_plugins

FINETUNING = ("data", "decoder", "task", "train", "trainer", "logger", "scratch")
UNITS = (
    ("data.batch_size", "data.bases_per_batch"),
    ("data.valid_windows", "data.valid_bases"),
    ("train.global_batch_size", "train.bases_per_step"),
    ("train.max_steps", "train.epochs"),
)
OF_FINETUNING = ("mode", "model", "ckpt_path")  # settings outside these groups


class Rule(NamedTuple):
    """Keys that have an effect only where another setting has some value.

    `unless` is a setting of those commands in which the keys mean something else.
    """

    keys: tuple[str, ...]
    other: str
    has_effect: Callable[[Any], bool]
    needs: str
    unless: str | None = None


def _given(value: Any) -> bool:
    return value is not None


_RATES = (
    *("learning_rate", "final_learning_rate", "warmup_fraction", "weight_decay"),
    *("betas", "epsilon", "gradient_clip"),
)
_OF_STEPS = (
    *("train.validate_every", "train.checkpoint_every", "train.log_every", "train.activation_checkpointing"),
    *("train.compile", "task.freeze", "task.monitor", "task.patience", "task.keep_best", "task.layer_decay"),
    "data.valid_examples",
)
_OF_FILES = ("data.valid_species", "data.test_species")
_TRAINED_WITH = (
    *("alphabet", "classes", "columns.group", "columns.split", "crop", "duplicates", "folder"),
    *("label_names", "max_length", "num_workers", "padding", "reverse_complement", "targets", "task", "test"),
    *("test_fraction", "valid", "valid_examples", "valid_fraction"),
)
RULES = (
    Rule(
        (
            *("train", "task", "decoder", "ckpt_path", "logger", "callbacks", "experiment"),
            *(f"trainer.{key}" for key in ("devices", "num_nodes", "strategy", "deterministic")),
            *(f"data.{key}" for key in _TRAINED_WITH),
        ),
        "mode",
        lambda value: value != "predict",
        "mode=train",
    ),
    Rule(("ckpt_path", "logger", "callbacks"), "mode", lambda value: value != "plan", "mode=train"),
    Rule(("ckpt_path", "logger", "callbacks"), "plan", lambda value: False, "`dnamamba pretrain`"),
    Rule(("scratch",), "model", lambda value: value == "scratch", "model=scratch"),
    Rule(("task.shrinkage", "task.refit"), "task.fit", lambda value: value == "closed", "task.fit=closed"),
    Rule(
        (*(f"train.{key}" for key in _RATES), *_OF_STEPS),
        "task.fit",
        lambda value: value != "closed",
        "task.fit=gradient",
    ),
    Rule(("task.layer_decay",), "task.freeze", lambda value: not value, "task.freeze=false"),
    Rule(("task.lora_alpha",), "task.lora_rank", bool, "task.lora_rank"),
    Rule(
        ("data.length_warmup.epochs", "data.length_warmup.steps"),
        "data.length_warmup.first_length",
        _given,
        "data.length_warmup.first_length",
    ),
    Rule(("data.edge", "data.overlap"), "data.intervals", _given, "data.intervals"),
    Rule(("data.crop",), "data.max_length", _given, "data.max_length"),
    Rule(("data.record_id",), "data.split", lambda value: value == "record", "data.split=record"),
    Rule(("data.homology",), "data.split", lambda value: value == "chromosome", "data.split=chromosome"),
    Rule(_OF_FILES, "data.split", lambda value: value == "file", "data.split=file"),
    Rule(("data.count_weight",), "data.loss", lambda value: value == "multinomial", "data.loss=multinomial"),
    # In embed it is not a number of bases.
    Rule(("context",), "bed", _given, "bed", unless="pooling"),
    Rule(("symbolic", "unknown"), "vcf", _given, "vcf"),
    Rule(("tolerance",), "method", lambda value: value == "integrated", "method=integrated"),
    Rule(("top_k", "top_p", "seed"), "temperature", lambda value: value != 0, "a temperature above 0"),
)


def check_unused(cfg: DictConfig, overrides: Sequence[str]) -> None:
    """Refuse a setting of the command line that has no effect with the others.

    Args:
        cfg: the composed configuration.
        overrides: as typed. What a file sets is its own affair: an experiment may prepare for a choice.

    Raises:
        UserError: naming the key and what it needs.
    """
    given = [(key.lstrip("+"), value) for key, _, value in (text.partition("=") for text in overrides)]
    for rule in RULES:
        if absent(cfg, rule.other) or rule.has_effect(OmegaConf.select(cfg, rule.other)):
            continue
        if rule.unless is not None and rule.unless in cfg:
            continue
        for name, value in given:
            if value != "null" and any(name == key or name.startswith(f"{key}.") for key in rule.keys):
                raise UserError(f"{name}: has no effect without {rule.needs} (got {value}); leave it out")


def absent(cfg: DictConfig, key: str) -> bool:
    """Return whether a configuration lacks a key (which is another command's) or its value."""
    group, _, last = key.rpartition(".")
    node = OmegaConf.select(cfg, group) if group else cfg
    return not isinstance(node, DictConfig) or last not in node or OmegaConf.is_missing(node, last)


def check_groups(cfg: DictConfig, groups: Sequence[str], others: Sequence[str]) -> None:
    """Check that a configuration has groups where groups belong, and nothing unknown; import its plugins.

    Args:
        cfg: the configuration.
        groups: names that must be groups of settings.
        others: other names that are allowed.

    Raises:
        UserError: naming the key.
    """
    known = (*groups, *others, "callbacks", "plugins")
    unknown = [str(key) for key in cfg if key not in known]
    if unknown:
        raise UserError(f"unknown setting {', '.join(unknown)}; the settings are {', '.join(known)}")
    for key in groups:
        if not isinstance(cfg[key], DictConfig):
            raise UserError(f"{key}: must be a group of settings (got {cfg[key]!r})")
    callbacks = cfg.get("callbacks")
    if callbacks is not None and not isinstance(callbacks, DictConfig):
        raise UserError(
            f"callbacks: must be a group with a name for each (got {callbacks!r}); set "
            "+callbacks.mine._target_=my_package.MyCallback"
        )
    if not isinstance(cfg.ckpt_path, str | None):
        raise UserError(f"ckpt_path: must be a path or `last` (got {cfg.ckpt_path!r})")
    load_plugins(list(cfg.get("plugins") or []))


def last_unit(cfg: DictConfig, overrides: Sequence[str]) -> None:
    """Drop a file's key where the command line gives the other one: windows or bases, steps or epochs."""
    given = {override.partition("=")[0].lstrip("+") for override in overrides}
    for pair in UNITS:
        for key, other in (pair, pair[::-1]):
            asked = key in given and OmegaConf.select(cfg, key) not in (None, AUTO)
            if asked and other not in given and OmegaConf.select(cfg, other) is not None:
                OmegaConf.update(cfg, other, AUTO if other == "train.max_steps" else None)
