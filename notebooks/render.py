"""Run notebooks, and write what a reader sees: Markdown with pictures next to it.

    python notebooks/render.py OUT [NOTEBOOK ...]

Without NOTEBOOKs, all next to this file, for docs/notebooks. They run in a folder of their own, which
is removed; a cell that fails ends it with its traceback, and nothing of that notebook is written. The
notebooks themselves are not touched: they are kept without outputs. pip install nbclient ipykernel.
"""

import argparse
import base64
import os
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("out", type=Path, help="folder for the Markdown and the pictures")
    parser.add_argument("notebooks", type=Path, nargs="*", help="default: all next to this file")
    options = parser.parse_args()
    # A cell's `python` is the one that runs this.
    os.environ["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    options.out.mkdir(parents=True, exist_ok=True)
    for path in options.notebooks or sorted(HERE.glob("*.ipynb")):
        began = time.perf_counter()
        notebook = nbformat.read(path, as_version=4)
        with tempfile.TemporaryDirectory() as folder:
            run(notebook, folder)
            write(notebook, path.stem, options.out, folder=os.path.realpath(folder))
        print(f"{path.name}: {time.perf_counter() - began:.1f} s", flush=True)


def run(notebook: nbformat.NotebookNode, folder: str) -> None:
    """Fill in the outputs, with `folder` as the working directory."""
    quiet = ["--log-level=ERROR"]
    resources = {"metadata": {"path": folder}}
    NotebookClient(notebook, timeout=None, resources=resources, extra_arguments=quiet).execute()


def write(notebook: nbformat.NotebookNode, name: str, out: Path, *, folder: str) -> None:
    """Write `name`.md and `name`_1.png, ... to `out`; paths below `folder`, where it ran, become relative."""
    parts = []
    pictures = 0
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
            continue
        language = "bash" if cell.source.startswith("%%bash") else "python"
        parts.append(f"```{language}\n{cell.source}\n```")
        text = ""
        for output in cell.outputs:
            data = output.get("data", {})
            if "image/png" in data:
                pictures += 1
                picture = f"{name}_{pictures}.png"
                (out / picture).write_bytes(base64.b64decode(data["image/png"]))
                parts.append(f"![{cell.id}]({picture})")
            elif output.output_type == "stream":
                text += output.text
            else:
                text += data.get("text/plain", "")
        if text.strip():
            text = text.replace(f"{folder}/", "").strip("\n")
            parts.append("```text\n" + "\n".join(line.rstrip() for line in text.splitlines()) + "\n```")
    (out / f"{name}.md").write_text("\n\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
