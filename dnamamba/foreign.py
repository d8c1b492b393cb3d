"""Other packages' model folders, read and written: tensors only, never pickled objects or code.

Which layouts there are, a family's `weights.py` says.
"""

import json
import os
import zipfile
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from dnamamba.documents import need_no_pointer, read_json
from dnamamba.errors import UserError
from dnamamba.files import replacing_folder
from dnamamba.models.base import ModelConfig
from dnamamba.models.finite import need_finite_weights
from dnamamba.models.layouts import Layout, ours_of, theirs_of

HOMES = tuple(f"dnamamba.models.{family}.weights" for family in ("mamba", "caduceus", "hyena"))
"""Modules with `LAYOUTS`."""

CONFIG_FILE, OURS = "config.json", "dnamamba.json"
SAFE, OLD = "model.safetensors", "pytorch_model.bin"
CHECKPOINT = "weights.ckpt"  # Lightning's, as HyenaDNA was first published


class Foreign(NamedTuple):
    """A model of another package.

    Attributes:
        config: the family and shape that it has here.
        weights: by our names.
        mapped: the file's names and ours.
    """

    config: ModelConfig
    weights: dict[str, Tensor]
    mapped: dict[str, str]


def layouts() -> dict[str, Layout]:
    """Import and return every layout, by name."""
    return {layout.name: layout for home in HOMES for layout in import_module(home).LAYOUTS}


def read_foreign(folder: Path, document: dict[str, Any]) -> Foreign:
    """Return the model in a folder whose `config.json` is not ours.

    Args:
        folder: with the weights, in one file or several.
        document: what its `config.json` holds.

    Raises:
        UserError: no family of ours is like it, or the files are damaged, of another class or contradict
            each other.
    """
    config_file = folder / CONFIG_FILE
    layout = next((each for each in layouts().values() if each.recognises(document)), None)
    if layout is None:
        kind = document.get("model_type", document.get("architectures", "no model_type"))
        raise UserError(
            f"{config_file}: a model of another kind (got {kind!r}); dnamamba reads its own folders and "
            f"{', '.join(layouts())}"
        )
    try:
        config = layout.config(document, _alphabet(folder))
    except UserError as error:
        raise UserError(f"{config_file}: {error}") from error
    found, source = _tensors(folder)
    weights, mapped = ours_of(found, layout.names(config), str(source))
    return Foreign(config, weights, mapped)


def write_foreign(
    config: ModelConfig, weights: dict[str, Tensor], folder: Path, name: str, card: str
) -> None:
    """Write a model as another package has it; the folder must not be there.

    Args:
        config: the family and shape.
        weights: by our names.
        folder: to write, whole or not at all.
        name: of the layout.
        card: the text of README.md.

    Raises:
        UserError: there is no such layout, the family has it not, or the folder can't be written.
    """
    fitting = {
        key: layout
        for key, layout in layouts().items()
        if layout.document is not None
        and layout.document.__module__.startswith(f"dnamamba.models.{config.family}.")
    }
    if name not in fitting:
        raise UserError(
            f"format: the family {config.family} is written as {' or '.join(fitting) or 'nothing but ours'} "
            f"(got {name!r})"
        )
    if folder.exists():
        raise UserError(f"out: {folder} is there already; choose another folder")
    layout = fitting[name]
    assert layout.document is not None
    document = layout.document(config)
    tensors = {key: value.detach().cpu().contiguous() for key, value in weights.items()}
    tensors = theirs_of(tensors, layout.names(config))
    try:
        with replacing_folder(folder) as beside:
            (beside / CONFIG_FILE).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
            (beside / OURS).write_text(json.dumps({"alphabet": config.alphabet}) + "\n", encoding="utf-8")
            (beside / "README.md").write_text(card, encoding="utf-8")
            if layout.weights_file == OLD:
                torch.save(tensors, beside / OLD)
            else:
                save_file(_apart(tensors), beside / layout.weights_file, metadata={"format": "pt"})
            # safetensors makes it private.
            (beside / layout.weights_file).chmod((beside / CONFIG_FILE).stat().st_mode & 0o777)
    except (OSError, RuntimeError, SafetensorError) as error:  # the writers of weights have their own
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise UserError(f"out: can't write {folder}: {reason}; choose another place") from error


def _apart(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copy tensors that share memory with one before them, which safetensors refuses."""
    seen: set[int] = set()
    made = {}
    for name, tensor in tensors.items():
        made[name] = tensor.clone() if tensor.data_ptr() in seen else tensor
        seen.add(tensor.data_ptr())
    return made


def _alphabet(folder: Path) -> str | None:
    """Return the alphabet that dnamamba.json names; None without that file."""
    path = folder / OURS
    if not path.is_file():
        return None
    alphabet = read_json(path, "download it again").get("alphabet")
    if not isinstance(alphabet, str):
        raise UserError(f"{path}: alphabet must be a name (got {alphabet!r})")
    return alphabet


def _tensors(folder: Path) -> tuple[dict[str, Tensor], Path]:
    """Return all tensors of a folder, and the file that they are from.

    Raises:
        UserError: there are none, a part is missing, or two sets of files differ.
    """
    sets = {}
    for name in (SAFE, OLD, CHECKPOINT):
        index = folder / f"{name}.index.json"
        if (folder / name).is_file():
            sets[name] = _read(folder / name)
        elif index.is_file():
            sets[name] = _parts(folder, index)
    if not sets:
        raise UserError(f"{folder}: no weights; expected {SAFE} or {OLD}, whole or in parts")
    name, *others = sets
    for other in others:
        _need_same(sets[name], sets[other], folder, name, other)
    return sets[name], folder / name


def _parts(folder: Path, index: Path) -> dict[str, Tensor]:
    named = read_json(index, "download it again").get("weight_map")
    if not isinstance(named, dict):
        raise UserError(f"{index}: expected a map weight_map (got {type(named).__name__}); download it again")
    found: dict[str, Tensor] = {}
    homes: dict[str, list[str]] = {}
    for part in sorted(set(map(str, named.values()))):
        if part not in named.values() or not _is_neighbour(part):
            raise UserError(f"{index}: expected names of files next to it (got {part!r})")
        tensors = _read(folder / part)
        twice = sorted(
            name for name in tensors.keys() & found.keys() if not _equal(tensors[name], found[name])
        )
        if twice:
            raise UserError(
                f"{index}: {twice[0]} is in {homes[twice[0]][0]} and in {part}, with other values; download "
                "them again"
            )
        found |= tensors
        for name in tensors:
            homes.setdefault(name, []).append(part)
    missing = sorted(set(named) - set(found))
    if missing:
        raise UserError(f"{index}: {', '.join(missing[:6])} is in none of the files; download them again")
    elsewhere = sorted(name for name, part in named.items() if part not in homes[name])
    if elsewhere:
        name = elsewhere[0]
        raise UserError(f"{index}: {name} is in {homes[name][0]}, not in {named[name]}; download them again")
    return found


def _is_neighbour(name: str) -> bool:
    """Return whether a text can be the name of a file in the same folder."""
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return False
    return name not in ("", "..") and "\0" not in name and Path(name).name == name


def _equal(one: Tensor, other: Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one, other)


def _unpacked(path: Path) -> Any:
    # torch does not look at the archive's checksums.
    broken = zipfile.ZipFile(path).testzip() if zipfile.is_zipfile(path) else None
    if broken is not None:
        raise ValueError(f"the checksum of {broken} is wrong")
    # Anything but tensors is refused before it is built.
    return torch.load(path, map_location="cpu", weights_only=True)


def _reason(error: Exception) -> str:
    """Return why torch can't read a file, without its advice to run the code that the file may hold."""
    text = " ".join(str(error).split())
    told = text.partition("WeightsUnpickler error: ")[2].partition(" Please use ")[0]
    return (told or text.partition(" In PyTorch ")[0])[:200]


def _read(path: Path) -> dict[str, Tensor]:
    need_no_pointer(path)
    try:
        found = load_file(path) if path.suffix == ".safetensors" else _unpacked(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} is missing or damaged ({error}); download it again") from error
    except Exception as error:  # torch raises many types for a damaged or a foreign file
        raise UserError(
            f"{path} is damaged or holds more than tensors ({_reason(error)}); dnamamba never unpickles "
            "objects"
        ) from error
    if path.suffix == ".ckpt" and isinstance(found, dict):
        found = found.get("state_dict")
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise UserError(f"{path}: expected tensors by name (got {type(found).__name__}); give a state dict")
    # Before tensors are compared: NaN equals nothing, itself neither.
    need_finite_weights(found, path, "use another copy")
    return found


def _need_same(safe: dict[str, Tensor], old: dict[str, Tensor], folder: Path, name: str, other: str) -> None:
    """Refuse two weight files that differ in a tensor or in which tensors they have.

    safetensors leaves out what shares memory with another tensor: what only the older file has must equal
    some tensor of the other.

    Args:
        safe: the tensors of the first.
        old: those of the second.
        folder: that has both.
        name: of the first file.
        other: of the second.
    """
    differing = sorted(name for name in safe.keys() & old.keys() if not torch.equal(safe[name], old[name]))
    differing += sorted(safe.keys() - old.keys())
    for extra in sorted(old.keys() - safe.keys()):
        alike = (value for value in safe.values() if value.shape == old[extra].shape)
        if not any(torch.equal(value, old[extra]) for value in alike):
            differing.append(extra)
    if differing:
        shown = ", ".join(differing[:6]) + (f" and {len(differing) - 6} more" if len(differing) > 6 else "")
        raise UserError(f"{folder}: {name} and {other} differ in {shown}; remove the one that is not meant")
