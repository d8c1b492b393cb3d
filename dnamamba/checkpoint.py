"""Models on disk: a folder of `config.json` and `model.safetensors`, or the checkpoint of a run.

Nothing is ever unpickled into code: safetensors holds tensors, and checkpoints are read with `weights_only`.
"""

import hashlib
import json
import os
import zipfile
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from dnamamba.building import Model, Question, built
from dnamamba.documents import need_no_pointer, once
from dnamamba.errors import UserError
from dnamamba.files import replacing_folder
from dnamamba.foreign import read_foreign
from dnamamba.hub import fetched, is_name
from dnamamba.models import (
    DecoderConfig,
    LanguageModel,
    ModelConfig,
    PositionConfig,
)
from dnamamba.models.families import family_of_file
from dnamamba.weights import is_released, named, nearest

FORMAT, SEQUENCE_FORMAT = "dnamamba-language-model", "dnamamba-sequence-model"
POSITION_FORMAT = "dnamamba-position-model"
FORMAT_VERSION = 1
CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"
DIGEST = "sha256"  # in config.json, of both files; models of 0.1 have none
OLD_FAMILY = "mamba"  # of files that have no word for it
MODULE_PREFIX = "model."  # what a Lightning checkpoint puts before the names of Task.model


def save_model(model: Model, folder: str | Path, *, overwrite: bool = False) -> None:
    """Write config.json and model.safetensors into `folder`, both or neither.

    >>> from dnamamba import LanguageModel, MambaConfig, load, save_model
    >>> save_model(LanguageModel(MambaConfig(d_model=8, n_layer=1)), "my_model")
    >>> load("my_model").config.d_model
    8

    Args:
        model: to be written.
        folder: where to; made where it is not there.
        overwrite: replace the model that is there.

    Raises:
        UserError: there is a model already, the folder can't be written, or holds anything that is not a
            model.
    """
    folder = Path(folder)
    if not overwrite and (folder / CONFIG_FILE).exists():
        raise UserError(
            f"{folder}: there is a model already; choose another folder, or overwrite it: "
            "save_model(model, folder, overwrite=True)"
        )
    save_weights(model, model.state_dict(), folder)


def save_weights(model: Model, state: dict[str, Tensor], folder: Path) -> None:
    """Save a model as `save_model` does, with weights that are held elsewhere.

    Args:
        model: gives family, shape and head.
        state: by name, the weights to save.
        folder: written as a whole.
    """
    decoder = None if isinstance(model, LanguageModel) else model.decoder
    document = {
        "format": _format_of(decoder),
        "format_version": FORMAT_VERSION,
        "family": model.config.family,
        "model": model.config.to_dict(),
    }
    if decoder is not None:
        document["decoder"] = decoder.to_dict()
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    if folder.exists() and not (folder.is_dir() and set(os.listdir(folder)) <= {CONFIG_FILE, WEIGHTS_FILE}):
        raise UserError(f"{folder} is there and holds other things than a model: choose another folder")
    try:
        with replacing_folder(folder) as beside:
            config, tensors = beside / CONFIG_FILE, beside / WEIGHTS_FILE
            save_file(weights, tensors)
            document[DIGEST] = _digest(document, tensors)
            config.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
            tensors.chmod(config.stat().st_mode & 0o777)  # safetensors makes it private
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"can't write the model folder {folder}: {reason}") from error


def _digest(document: dict[str, Any], weights: Path) -> str:
    """Return the SHA-256 of what a model's two files hold, in hexadecimal."""
    rest = {key: value for key, value in document.items() if key != DIGEST}
    with weights.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    digest.update(json.dumps(rest, sort_keys=True).encode())
    return digest.hexdigest()


def load(path: str | Path) -> Model:
    """Return a model from a folder, a run's folder or a checkpoint, on the CPU and in evaluation mode.

    The folder may be another package's (`dnamamba.foreign`). A name is that of a published model
    (`dnamamba.weights`), such as `human-1m4-2p17`, or `owner/name` of the Hugging Face Hub.

    >>> from dnamamba import load
    >>> from dnamamba.data.embedded import YEAST_MODEL
    >>> load(YEAST_MODEL).config.d_model
    64

    Returns:
        A `LanguageModel` as it was pretrained, or a `SequenceModel` or `PositionModel` as it was fine-tuned.

    Raises:
        UserError: there is nothing there, or it is damaged; the message names the file and what is wrong.
    """
    path = located(path)
    if path.is_file():
        checkpoint = read_checkpoint(path)
        config = checkpoint_config(checkpoint, path)
        decoder = _decoder(checkpoint["dnamamba"].get("decoder"), path)
        weights = {
            str(name).removeprefix(MODULE_PREFIX): tensor
            for name, tensor in checkpoint["state_dict"].items()
            if str(name).startswith(MODULE_PREFIX)
        }
        if any(".lora_" in name for name in weights):
            raise UserError(
                f"{path} holds LoRA adapters of an unfinished run: resume with ckpt_path={path}; "
                "the finished run's folder has the merged model"
            )
        return built(config, decoder, weights, path)
    for folder in (path, path / "model"):
        if (folder / CONFIG_FILE).is_file():
            return _load_foreign(folder) or _load_folder(folder)
    last = path / "checkpoints" / "last.ckpt"
    if last.is_file():
        raise UserError(
            f"no model at {path}: its run is not finished; wait for its end or resume it with "
            f"ckpt_path={path}, or name its checkpoint, {last}"
        )
    raise UserError(
        f"no model at {path}: neither a checkpoint nor a folder with {CONFIG_FILE}{nearest(str(path))}"
    )


def located(path: str | Path) -> Path:
    """Return where a model lies: the path itself, or where that of a name is kept.

    Args:
        path: as `load` takes it; what exists here comes before a name.

    Raises:
        UserError: the path is empty, or a named model can't be had.
    """
    name, path = str(path), Path(os.path.expanduser(path))
    if not name.strip():  # which `Path` takes for the working directory
        raise UserError("model: the path is empty; name a run's folder, an exported folder or a checkpoint")
    if path.exists():
        return path
    if is_released(name):
        return named(name)
    return fetched(name) if is_name(name) else path


def _load_foreign(folder: Path) -> LanguageModel | None:
    """Load a model of another package's folder; None for our own, and if config.json can't be read."""
    try:
        document = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    is_ours = not isinstance(document, dict) or {"format", "format_version", "family"} & set(document)
    if is_ours or not document:
        return None
    return _foreign_model(folder, document)


def _foreign_model(folder: Path, document: dict[str, Any]) -> LanguageModel:
    found = read_foreign(folder, document)
    model = built(found.config, None, found.weights, folder)
    assert isinstance(model, LanguageModel)
    model.mapped = found.mapped
    return model


def _load_folder(folder: Path) -> Model:
    config_file, weights_file = folder / CONFIG_FILE, folder / WEIGHTS_FILE
    document = _read_document(config_file)
    if "format" not in document:
        return _foreign_model(folder, document)
    config = _model_config(document.get("family", OLD_FAMILY), document.get("model"), config_file)
    decoder = _decoder(document.get("decoder"), config_file)
    if decoder is None and document["format"] != FORMAT:
        raise UserError(f"{config_file} is damaged: the model answers a question, and `decoder` is missing")
    if document["format"] != _format_of(decoder):
        raise UserError(
            f"{config_file}: format: must be {_format_of(decoder)}, as `decoder` says (got "
            f"{document['format']}); use another copy"
        )
    need_no_pointer(weights_file)
    try:
        weights = load_file(weights_file)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{weights_file} is missing or damaged ({error})") from error
    model = built(config, decoder, weights, folder)
    if document.get(DIGEST, found := _digest(document, weights_file)) != found:
        raise UserError(
            f"{folder}: {CONFIG_FILE} and {WEIGHTS_FILE} are not as they were written (their SHA-256 is "
            f"{found[:12]}..., and {CONFIG_FILE} says {str(document[DIGEST])[:12]}...): use another copy, or "
            f"remove `{DIGEST}` from {CONFIG_FILE} if you changed it yourself"
        )
    return model


def model_hash(model: Model) -> str:
    """Return the SHA-256 of a model's configuration and weights, in hexadecimal; the same from any file."""
    config = model.config.to_dict()
    if model.config.family != OLD_FAMILY:
        config["family"] = model.config.family
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy())
    return digest.hexdigest()


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return a run's checkpoint: tensors and plain values only.

    Raises:
        UserError: the file is missing, damaged, or no checkpoint of dnamamba.
    """
    if not path.is_file():
        raise UserError(f"no checkpoint {path}")
    try:
        with path.open("rb") as file:
            archive = file.read(2) == b"PK"
        # torch takes what is not a zip archive for its old format, and then complains of `mmap`.
        broken = zipfile.ZipFile(path).testzip() if archive else None
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True) if archive else None
    except UnpicklingError:  # torch's own words advise to run the code that the file may hold
        raise UserError(
            f"{path} is damaged or no checkpoint of dnamamba (it holds other things than tensors and plain "
            "values, which are never read)"
        ) from None
    except Exception as error:  # torch raises many types for a damaged file, and none means more here
        reason = str(error).partition("\n")[0]
        raise UserError(f"{path} is damaged or no checkpoint of dnamamba ({reason})") from error
    if broken is not None:
        raise UserError(f"{path} is damaged: the checksum of {broken} is wrong; use another checkpoint")
    groups = ("dnamamba", "state_dict")
    if not isinstance(checkpoint, dict) or not all(isinstance(checkpoint.get(key), dict) for key in groups):
        raise UserError(f"{path} is not a checkpoint of dnamamba")
    return checkpoint


def checkpoint_config(checkpoint: dict[str, Any], path: Path) -> ModelConfig:
    """Return the model's family and shape as the checkpoint at `path` holds them."""
    contents = checkpoint["dnamamba"]
    return _model_config(contents.get("family", OLD_FAMILY), contents.get("model"), path)


def _model_config(family: Any, values: Any, path: Path) -> ModelConfig:
    found = family_of_file(family, str(path))
    try:
        return found.from_dict(values)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _decoder(values: Any, path: Path) -> Question | None:
    """Return the head's configuration of a fine-tuned model, or None; only one per position has a window."""
    try:
        if isinstance(values, dict) and "window" in values:
            return PositionConfig.from_dict(values)
        return None if values is None else DecoderConfig.from_dict(values)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _format_of(decoder: Question | None) -> str:
    if decoder is None:
        return FORMAT
    return POSITION_FORMAT if isinstance(decoder, PositionConfig) else SEQUENCE_FORMAT


def _read_document(path: Path) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=once)
        if isinstance(document, dict) and "format" not in document:
            return document  # another package's
        found, version = document["format"], document["format_version"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{path} is damaged: {type(error).__name__}: {error}") from error
    if found not in (FORMAT, SEQUENCE_FORMAT, POSITION_FORMAT) or version != FORMAT_VERSION:
        raise UserError(
            f"{path}: must be of format {FORMAT!r}, version {FORMAT_VERSION} (got {found!r}, {version!r})"
        )
    return document
