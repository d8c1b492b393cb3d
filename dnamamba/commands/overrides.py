"""Overrides as typed: names and paths are text, which Hydra's grammar would read as numbers or as its own.

Hydra reads `region=1.10` as the number 1.1, `1_2` as 12, and refuses `fasta=genome (1).fa`. Keys whose value
is text whatever it looks like are quoted here before Hydra sees them.
"""

import re
from collections.abc import Sequence

from dnamamba.commands.data_sets import keys_of_files, keys_of_maps, keys_of_names
from dnamamba.errors import UserError

PATHS = {"fasta", "bed", "vcf", "out", "ckpt_path", "table", "labels", "tokenizer", *keys_of_files()}
PATHS |= {"prompt_file", "hydra.run.dir", "hydra.sweep.dir"}
TEXTS = PATHS | {"region", "prompt", "label"}
TEXTS |= {f"{group}.{key}" for group in ("regions", "data.regions") for key in ("feature", "name", "label")}
MODEL_PATH = "_path_"
"""Since conf/ has a group `model`, Hydra takes `model=x` for a choice among its files, but a map for a value:
a path travels as `model={_path_: x}`."""
LISTS = {"circular", "plugins", "protocols", "regions.circular", "data.regions.circular", *keys_of_names()}
MAPS_OF_PATHS = keys_of_maps()
MAPS = {"task.class_weights", "data.targets", *(MAPS_OF_PATHS - {"data.species"})}  # whose default has names
NAMES = {"region", *LISTS, *MAPS}
"""Keys whose values, or whose own keys, are names: a number there is a name that YAML has rewritten."""
COLUMNS = {
    f"{where}.{key}"
    for where in ("columns", "data.columns")
    for key in ("id", "sequence", "label", "split", "group")
}
ATTRIBUTES = {
    f"{where}.{key}" for where in ("regions", "data.regions") for key in ("feature", "name", "label")
}
TEXTS |= COLUMNS | ATTRIBUTES
NAMES |= COLUMNS | ATTRIBUTES

MAY_BE_EMPTY = {"plugins", "logger", "callbacks", "circular", "regions.circular", "data.regions.circular"}
MAY_BE_EMPTY |= {f"data.{key}" for key in ("circular", "valid", "test", "markov_orders", "pairs", "homology")}
MAY_BE_EMPTY |= {"data.valid_species", "data.test_species"}
"""Keys of which an empty list or map says that there are none; elsewhere it is a mistake."""

GROUPS = {"data", "experiment", "logger", "model", "objective", "train", "trainer"}
"""Folders of conf/: a list names several of their files, and an empty one, to Hydra, the default."""

MAPS_OF_SETTINGS = {"data", "train", "trainer", "task", "decoder", "scratch", "objective", "plan"}
MAPS_OF_SETTINGS |= {"regions", "columns", "data.regions", "data.columns", "data.length_warmup"}
"""Groups whose keys have names of their own."""

_NULL = "_null_"  # stands for a map's key null
_OPEN, _CLOSE = "([{", ")]}"
_CALL = re.compile(r"(?:choice|range|interval|glob|sort|shuffle|tag|str|extend_list)\(.*\)$", re.DOTALL)


def as_typed(arguments: Sequence[str], *, model_is_a_path: bool) -> list[str]:
    """Return the arguments with names and paths quoted, and a single name for a list put into one.

    Args:
        arguments: of the command line, flags included.
        model_is_a_path: where `model` is not a choice among files of conf/model.

    Raises:
        UserError: a key was given an empty value, or a map has a key twice.

    >>> as_typed(["region=1.10", "data.valid=[1_2]", "train.seed=1", "model=run"], model_is_a_path=True)
    ["region='1.10'", "data.valid=['1_2']", 'train.seed=1', "model={_path_: 'run'}"]
    """
    sweep = any(argument in ("--multirun", "-m") for argument in arguments)
    single = [part for argument in arguments for part in _settings(argument, sweep, model_is_a_path)]
    return [_quoted_override(argument, sweep, model_is_a_path) for argument in single]


def _settings(argument: str, sweep: bool, model_is_a_path: bool) -> list[str]:
    """Take a map of settings apart, `task={lora_rank: 4}`: what is known of a key is known by its name."""
    key, _, value = argument.partition("=")
    name, value = key.lstrip("+"), value.strip()
    is_group = name in MAPS_OF_SETTINGS or (name == "model" and not model_is_a_path)
    if (
        not is_group
        or not re.fullmatch(r"\{.*[^\s{].*\}", value, re.DOTALL)
        or (sweep and len(split(value)) > 1)
    ):
        return [argument]
    _check_keys(name, value)
    if "_target_" in map(_unquoted, map_keys(value)):  # of a class that may be a user's own, and so its keys
        return [argument]
    # A plus alone would have to add keys that are there.
    sign = "++" if key != name else ""
    pairs = [part.partition(":") for part in split(value[1:-1]) if part.strip()]
    inner = [f"{sign}{name}.{_unquoted(own)}={one.strip()}" for own, _, one in pairs]
    return [part for each in inner for part in _settings(each, sweep, model_is_a_path)]


def _quoted_override(argument: str, sweep: bool, model_is_a_path: bool) -> str:
    key, sign, value = argument.partition("=")
    name = key.lstrip("+")
    if not sign or argument.startswith(("-", "~")):
        return argument
    _check_keys(name, value)
    if not _unquoted(value).strip() and not name.startswith(("logger.", "callbacks.")):
        raise UserError(empty(name))
    if re.fullmatch(r"\{\s*\}", value.strip()) and name not in MAY_BE_EMPTY:  # Hydra merges it into the group
        raise UserError(empty(name))
    if name == "model" and model_is_a_path:
        if value.startswith(f"{{{MODEL_PATH}:"):  # Lightning starts its processes with these arguments again
            return argument
        parts = split(value) if sweep else [value]
        return "model=" + ",".join(f"{{{MODEL_PATH}: {quoted(part)}}}" for part in parts)
    if name in GROUPS and value.strip(" []") in ("", "null"):
        raise UserError(empty(name))
    # A key may be a map to one data set and a list to another: its value says which.
    if name in MAPS | MAPS_OF_PATHS and value.strip().startswith("{"):
        return f"{key}={_quoted_map(value, paths=name in MAPS_OF_PATHS, names=name in MAPS)}"
    in_map = name.rpartition(".")[0] in MAPS_OF_PATHS
    if (name in TEXTS and name not in LISTS) or (in_map and not value.strip().startswith("[")):
        parts = split(value) if sweep else [value]
        return f"{key}=" + ",".join(map(quoted, parts))
    if name in LISTS or in_map:
        parts = split(value)
        if sweep or value.strip().startswith("["):
            return f"{key}=" + ",".join(map(_quoted_list, parts))
        ours = _is_ours(value) or value.startswith("${")
        return argument if ours else f"{key}={_quoted_list(f'[{value}]')}"
    return argument


def empty(key: str) -> str:
    """Describe a key without a value, as from a shell's variable that is not set."""
    what = "a path" if key in PATHS | {"model"} else "a value"
    return f"{key}: is empty; give {what} or leave the key out"


def split(text: str) -> list[str]:
    """Return the text cut at its commas, but not at those within quotes, brackets or `${}`."""
    parts, depth, quote, before = [""], 0, "", ""
    for letter in text:
        if quote:
            quote = "" if letter == quote and before != "\\" else quote
        elif letter in "'\"":
            quote = letter
        elif letter in _OPEN:
            depth += 1
        elif letter in _CLOSE:
            depth -= 1
        before = letter
        if letter == "," and not quote and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def map_keys(text: str) -> list[str]:
    """Return the keys of `{0: a.fa, 1: b.fa}` as they are written."""
    inside = text.strip().removeprefix("{").removesuffix("}")
    keys = [part.partition(":")[0].strip() for part in split(inside) if part.strip()]
    return ["null" if key == _NULL else key for key in keys]


def _check_keys(name: str, value: str) -> None:
    """Refuse a map, also within others, with one key twice: Hydra takes the last."""
    value = value.strip()
    if not (value.startswith(tuple(_OPEN)) and value.endswith(tuple(_CLOSE))):
        return
    keys = [_unquoted(key) for key in map_keys(value)] if value.startswith("{") else []
    for key in keys:
        if keys.count(key) > 1:
            raise UserError(f"{name}: {key} is there twice (got {value}); keep one")
    for part in split(value[1:-1]):
        _check_keys(name, part.partition(":")[2] if value.startswith("{") else part)


def quoted(text: str) -> str:
    """Quote a text for Hydra, which takes quotes off again; null, quoted text and functions stay."""
    text = text.strip()
    if _is_ours(text):
        return text
    # Of Hydra's grammar: a quote within is escaped, and so are backslashes before a quote.
    escaped = re.sub(r"(\\*)('|$)", lambda m: m[1] * 2 + ("\\'" if m[2] else ""), text)
    return f"'{escaped}'"


def _is_ours(text: str) -> bool:
    """Return whether an argument must reach Hydra unchanged."""
    text = text.strip()
    return text.lower() == "null" or _unquoted(text) != text or _CALL.match(text) is not None


def _quoted_list(text: str) -> str:
    text = text.strip()
    if not (text.startswith("[") and text.endswith("]")):
        return text if _is_ours(text) or text.startswith("${") else f"[{quoted(text)}]"
    parts = [part.strip() for part in split(text[1:-1]) if part.strip()]
    # Nothing can't be in a list: there, null is a name.
    return "[" + ",".join(f"'{part}'" if part.lower() == "null" else quoted(part) for part in parts) + "]"


def _quoted_map(text: str, *, paths: bool, names: bool) -> str:
    """Quote the paths in `{a: one.fa, b: [two.fa, three.fa]}`, and rename null, which Hydra would drop."""
    entries = []
    for part in filter(str.strip, split(text.strip().removeprefix("{").removesuffix("}"))):
        name, _, value = part.partition(":")
        if paths:
            value = _quoted_list(value) if value.strip().startswith("[") else quoted(value)
        name = _NULL if names and name.strip() == "null" else name.strip()
        entries.append(f"{name}: {value.strip()}")
    return "{" + ", ".join(entries) + "}"


def _unquoted(text: str) -> str:
    text = text.strip()
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text
