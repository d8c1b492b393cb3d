"""What `python -m dnamamba.report` does: a run's folder as an HTML page."""

import os
from dataclasses import dataclass
from pathlib import Path

from dnamamba.files import replacing
from dnamamba.inference.output import output_path
from dnamamba.reports.page import page
from dnamamba.terminal import Console


@dataclass(frozen=True)
class ReportConfig:
    """The settings of conf/report.yaml, which explains each."""

    run: str
    out: str | None = None
    overwrite: bool = False


def report_to_file(config: ReportConfig) -> None:
    """Write the page, whole or not at all.

    Raises:
        UserError: the folder has no results, or the page can't be written.
    """
    folder = Path(os.path.expanduser(config.run))
    out = output_path(config.out or str(folder / "report.html"), (".html",), config.overwrite)
    text = page(folder)
    with replacing(out) as beside:
        beside.write_text(text, "utf-8")
    Console().print(f"wrote {out}", soft_wrap=True)
