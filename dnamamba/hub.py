"""Models of the Hugging Face Hub, by `owner/name` or `owner/name@revision`, to and fro; never code."""

import re
from pathlib import Path
from typing import Any

from dnamamba.errors import UserError
from dnamamba.optional import need

_NAME = re.compile(r"(?P<repository>[A-Za-z0-9][\w.-]*/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")
# Configuration, tokenizer and weights; safetensors first, and the older files only where there are none.
_SMALL = ["config.json", "dnamamba.json", "tokenizer.json", "*.index.json"]
_SAFE, _OLD = ["*.safetensors"], ["pytorch_model*.bin", "weights.ckpt"]


def is_name(path: str) -> bool:
    """Return whether a text has the form `owner/name` and does not begin with a folder that exists here.

    >>> is_name("state-spaces/mamba-130m"), is_name("/data/model"), is_name("model")
    (True, False, False)
    """
    return _NAME.fullmatch(path) is not None and not Path(path).parent.exists()


def fetched(name: str) -> Path:
    """Return the folder of a repository's newest or named revision; downloaded once, it is found offline.

    Raises:
        UserError: huggingface_hub is not installed, or the repository can't be had.
    """
    need("huggingface_hub", "hub", f"model={name}")
    from huggingface_hub import snapshot_download

    found = _NAME.fullmatch(name)
    assert found is not None, name
    repository, revision = found["repository"], found["revision"]
    try:
        folder = Path(snapshot_download(repository, revision=revision, allow_patterns=[*_SMALL, *_SAFE]))
        if not any(folder.glob("*.safetensors")):
            folder = Path(snapshot_download(repository, revision=revision, allow_patterns=[*_SMALL, *_OLD]))
    except Exception as error:  # no network, no such repository, no permission: each has types of its own
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"no model at {name}: neither a path here nor a repository of the Hugging Face Hub that can be "
            f"had ({reason[:300]})"
        ) from error
    return folder


def need_push(name: str) -> None:
    """Look, before any work is done, whether a folder could be pushed under a name.

    Raises:
        UserError: it is not `owner/name`, or huggingface_hub is not installed.
    """
    found = _NAME.fullmatch(name)
    if found is None or found["revision"]:
        raise UserError(
            f"push: expected owner/name of the Hugging Face Hub (got {name!r}); name a repository"
        )
    need("huggingface_hub", "hub", f"push={name}")


def pushed(folder: Path, name: str, api: Any = None) -> str:
    """Upload a model's folder in one commit to a repository; a new one is private.

    Args:
        folder: with the model and its card.
        name: `owner/name`.
        api: with the methods of `huggingface_hub.HfApi`; None: that one, with the user's own login.

    Returns:
        The address of the commit.

    Raises:
        UserError: `need_push` refuses the name, or the Hub the upload.
    """
    need_push(name)
    if api is None:
        from huggingface_hub import HfApi

        api = HfApi()
    try:
        api.create_repo(name, repo_type="model", private=True, exist_ok=True)
        made = api.upload_folder(
            repo_id=name, repo_type="model", folder_path=folder, commit_message="Write a model of dnamamba"
        )
    except Exception as error:  # no network, no login, no permission: each has types of its own
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"push: {name} can't be written ({reason[:300]}); the model is in {folder}: log in with "
            "`hf auth login`, then upload that folder"
        ) from error
    return str(getattr(made, "commit_url", made))
