"""The page of a run as a reader's browser shows it: pictures, numbers, colours, and names that are text."""

import json
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import dnamamba
from dnamamba.commands.report import ReportConfig, report_to_file
from dnamamba.objectives.task_config import TaskConfig
from tests.browser import Page

EVIL = "<script>document.title='obeyed'</script>"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fine-tuning of two steps, one of whose classes, and whose folder, is a program."""
    folder = tmp_path_factory.mktemp("page")
    rng = np.random.default_rng(0)
    rows = [
        f'{"".join(rng.choice(list("ACGT"), 20))},"{(EVIL, "b")[i % 2].replace(chr(34), chr(34) * 2)}"\n'
        for i in range(60)
    ]
    (folder / "t.csv").write_text("sequence,label\n" + "".join(rows))
    torch.manual_seed(0)
    dnamamba.Finetuning(
        folder / "run <img src=x>",
        dnamamba.LabelledConfig(table=str(folder / "t.csv"), batch_size=4),
        dnamamba.LanguageModel(dnamamba.MambaConfig(d_model=8, n_layer=1, d_state=4)),
        task=TaskConfig(baselines=False, bootstrap=10),
        train=dnamamba.FinetuneTrainConfig(max_steps=2, global_batch_size=4, validate_every=1, log_every=1),
        quiet=True,
    ).run()
    report_to_file(ReportConfig(str(folder / "run <img src=x>")))
    return folder / "run <img src=x>"


@pytest.fixture(scope="module")
def page(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """The page, open in a browser."""
    found = Page(tmp_path_factory.mktemp("profile"))
    found.open((run / "report.html").as_uri())
    yield found
    found.close()


def cells(page: Page, table: int) -> list[list[str]]:
    """The texts of a table as they are shown."""
    rows: Any = page.value(
        f"[...document.querySelectorAll('table')[{table}].rows].map(r => [...r.cells].map(c => c.innerText))"
    )
    return rows


def test_page_in_a_browser_needs_nothing_else(run: Path, page: Page) -> None:
    assert page.said == []
    others = [one for one in page.asked if not one.startswith("data:image/png;base64,")]
    assert others == [(run / "report.html").as_uri()]


def test_names_of_a_run_are_shown_and_not_obeyed(run: Path, page: Page) -> None:
    assert page.value("document.title") == run.name
    assert page.value("document.querySelector('h1').innerText") == f"Fine-tuning (classification): {run.name}"
    assert page.value("document.scripts.length") == 0
    page.value("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert ["labels", json.dumps([EVIL, "b"])] in cells(page, 1)


def test_numbers_of_the_run_are_in_the_table(run: Path, page: Page) -> None:
    test = json.loads((run / "metrics.json").read_text())["test"]
    header, model, *_ = cells(page, 0)
    metrics = [name for name, found in test.items() if isinstance(found, dict) and "value" in found]
    assert "accuracy" in metrics
    assert header == ["", *metrics]
    shown = {name: float(cell.split()[0]) for name, cell in zip(metrics, model[1:], strict=True)}
    assert shown == {name: pytest.approx(test[name]["value"], abs=5e-5) for name in metrics}


def test_versions_of_the_run_are_on_the_page(page: Page) -> None:
    shown = page.value("[...document.querySelectorAll('h2')].at(-1).nextElementSibling.innerText")
    assert shown.startswith(f"dnamamba {dnamamba.__version__}, python {platform.python_version()}, torch ")


def test_every_picture_is_drawn(run: Path, page: Page) -> None:
    widths = page.value("[...document.images].map(one => one.complete ? one.naturalWidth : 0)")
    titles = page.value("[...document.images].map(one => one.alt)")
    assert len(widths) == len(list(run.glob("*.png"))) + 1
    assert {"Learning curve", "Confusion matrix", "Calibration"} <= set(titles)
    assert min(widths) >= 300


@pytest.mark.parametrize("width", [390, 1200])
def test_page_fits_the_window_and_the_colours(run: Path, page: Page, width: int) -> None:
    shown = {}
    for scheme in ("light", "dark"):
        page.open((run / "report.html").as_uri(), scheme=scheme, size=(width, 900))
        shown[scheme] = page.value("getComputedStyle(document.body).color")
        assert (
            page.value("Math.max(...[...document.querySelector('table').rows].map(r => r.offsetHeight))")
            < 120
        )
        assert page.value("document.documentElement.scrollWidth") <= width
    assert shown == {"light": "rgb(0, 0, 0)", "dark": "rgb(255, 255, 255)"}
