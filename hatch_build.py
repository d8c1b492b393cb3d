"""The description of the archives: the README as a page that stands alone, without a repository.

A metadata hook of hatchling. A package index shows the README and none of the files that it names, so that
pictures would be broken and links to pages would lead nowhere.
"""

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


class Readme(MetadataHookInterface):
    """Set the field `readme` of the metadata."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Called by hatchling with what pyproject.toml says."""
        text = (Path(self.root) / "README.md").read_text("utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": standalone(text)}


def standalone(text: str) -> str:
    """Return Markdown without its pictures of the repository, their captions, and links within it."""
    text = re.sub(
        r"^!\[[^\]]*\]\((?!https:)[^)]*\)\n\n(?:\*[^*]+(?:\*[^*\n]+\*[^*]*)*\*\n\n)?", "", text, flags=re.M
    )
    text = re.sub(r"^<!--.*?-->\n\n", "", text, flags=re.M | re.S)
    return re.sub(r"\[([^\]]*)\]\((?!https:|#)[^)]*\)", r"\1", text)
