"""Models of the Hugging Face Hub, by `owner/name` or `owner/name@revision`; never their code."""

import re
from pathlib import Path

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
