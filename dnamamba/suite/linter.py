"""The leak linter seqleak, an extra: it finds shortcuts and constructed negatives, too."""

import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dnamamba.datasets.base import DataModule
from dnamamba.errors import UserError
from dnamamba.optional import need

# Training that is drawn without end is linted up to so many sequences.
MOST_DRAWN = 4_000
_MOST_BASES = 1 << 27


def lint(data: DataModule, seed: int) -> dict[str, Any]:
    """Return seqleak's verdict on a data set: `version`, `status`, `fail`, `warn`, `summary`.

    Its checks by alignment are left out: they need programs that are not Python's.

    Args:
        data: with its splits and one class per sequence.
        seed: of its intervals and folds.

    Raises:
        UserError: seqleak is not installed, or the labels are not classes.
    """
    need("seqleak", "audit", "linter=seqleak")
    from seqleak.audit import load_task, run_audit

    decoder = data.decoder("mean")
    if decoder.head.reads != "class":
        raise UserError(f"linter=seqleak: reads one class per sequence (got a {decoder.kind}); leave it out")
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder, "splits.csv")
        with table.open("w", encoding="ascii") as file:
            file.write("sequence,label,split\n")
            most = data.training_sequences or MOST_DRAWN
            batches = [("train", data.training_batches(most, _MOST_BASES)), *data.held_out_loaders()]
            for split, found in batches:
                done = 0
                for batch in found:
                    rows = _letters(data, batch)
                    # By number: a label may hold anything, and its name decides nothing.
                    labels = batch["labels"].tolist()
                    name = "dev" if split == "valid" else split
                    file.writelines(
                        f"{row},{label},{name}\n" for row, label in zip(rows, labels, strict=True)
                    )
                    done += len(rows)
                    if split == "train" and done >= most:
                        break
        report, _ = run_audit(load_task(data=[str(table)]), quiet=True, homology="off", seed=seed)
    found = report["verdict"]
    kept = {key: found[key] for key in ("status", "fail", "warn", "summary")}
    return {"version": version("seqleak"), **kept}


def _letters(data: DataModule, batch: Any) -> list[str]:
    tokens = batch["tokens"].numpy()
    width = tokens.shape[1]
    lengths = batch["lengths"].tolist() if "lengths" in batch else [width] * len(tokens)
    left = data.padding == "left"
    rows = zip(tokens, lengths, strict=True)
    return [data.alphabet.decode(row[width - size :] if left else row[:size]) for row, size in rows]
