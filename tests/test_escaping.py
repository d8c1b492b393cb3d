"""Names from files, on their way to a terminal, into a table or onto a picture."""

import csv
import io
import logging
from pathlib import Path

import numpy as np
import pytest
from rich.progress import Progress, TextColumn
from rich.table import Table

from dnamamba.data.intervals import Interval
from dnamamba.errors import Interrupted
from dnamamba.escaping import LONGEST, PrintableRecord, TsvWriter, cell, printable
from dnamamba.inference.saturation import Saturation, write_table
from dnamamba.reports.figures import confusion_matrix, save_figure
from dnamamba.reports.saturation import saturation_figure
from dnamamba.terminal import Console

TITLE = "\x1b]0;owned\x07x"
SHOWN = r"\x1b]0;owned\x07x"


def terminal() -> tuple[Console, io.StringIO]:
    """A console that believes to be a terminal, and what it wrote."""
    file = io.StringIO()
    return Console(
        file=file, force_terminal=True, width=200, color_system="truecolor", legacy_windows=False
    ), file


def print_line(console: Console, name: str) -> None:
    console.print(f"{name}: 3 of 7", soft_wrap=True)


def print_table(console: Console, name: str) -> None:
    table = Table(title=name)
    table.add_column("class")
    table.add_row(name)
    console.print(table)


def show_progress(console: Console, name: str) -> None:
    with Progress(TextColumn("{task.description}", markup=False), console=console) as progress:
        progress.add_task(printable(name), total=1)


def show_status(console: Console, name: str) -> None:
    with console.status(f"checking {name}"):
        pass


@pytest.mark.parametrize("show", [print_line, print_table, show_progress, show_status])
@pytest.mark.parametrize(("name", "shown"), [(TITLE, SHOWN), ("[/x][bold]b", "[/x][bold]b")])
def test_a_terminal_is_told_nothing_by_names(show, name: str, shown: str) -> None:  # type: ignore[no-untyped-def]
    console, file = terminal()
    show(console, name)
    assert shown in file.getvalue()
    assert not any(code in file.getvalue() for code in ("\x1b]", "\x07", "\x1b[1mb"))


def test_names_are_not_searched_for_colours() -> None:
    console, file = terminal()
    console.print("1.5 /a/path True http://x.y")
    assert file.getvalue() == "1.5 /a/path True http://x.y\n"


def test_a_line_of_a_log_escapes_its_names() -> None:
    """As Hydra's on a job of a sweep."""
    record = PrintableRecord("hydra", logging.INFO, "", 1, "\t#%d : fasta=%s\nnext", (1, TITLE), None)
    assert record.getMessage() == f"\t#1 : fasta={SHOWN}\nnext"


def test_a_long_name_is_shortened_in_its_middle() -> None:
    console, file = terminal()
    console.print("a" * 10**6 + "end", soft_wrap=True)
    assert len(file.getvalue()) < LONGEST + 20
    assert file.getvalue().endswith("aend\n")
    assert len(str(Interrupted("stopped: " + "a" * 10**6))) < LONGEST + 20


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("=1+1", "'=1+1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("-2+3", "'-2+3"),
        ("\t=1", r"\t=1"),
        (TITLE, SHOWN),
        ("-0.25", "-0.25"),
        ("+1e-3", "+1e-3"),
        (-1.5e-07, "-1.5e-07"),
        ("-inf", "-inf"),
        ("-", "-"),
        ("+", "+"),
        ("chr1=2", "chr1=2"),
        ("", ""),
    ],
)
def test_a_cell_is_text_to_spreadsheets_and_terminals(value: object, written: str) -> None:
    assert cell(value) == written


def test_a_table_reads_back_as_its_cells() -> None:
    file = io.StringIO()
    writer = TsvWriter(file)
    writer.writerow(["id", "label"])
    writer.writerows([['"quoted"', "=A1"], ["é", -0.5]])
    file.seek(0)
    assert list(csv.reader(file, delimiter="\t")) == [["id", "label"], ['"quoted"', "'=A1"], ["é", "-0.5"]]


def test_the_table_of_a_region_escapes_its_record(tmp_path: Path) -> None:
    llr = np.array([[0.0, -1.5, 0.25, 1e-7]])
    write_table(Saturation(Interval("=1+1", 8, 9), "A", llr, np.abs(llr)), tmp_path / "o.tsv")
    lines = (tmp_path / "o.tsv").read_text().splitlines()
    assert lines[1] == "'=1+1\t9\tA\tC\t-1.5\t1.5"
    assert [len(line.split("\t")) for line in lines] == [6] * 4


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ["a$b$", r"$\frac$", "x$y", TITLE, "染色体", "n" * 5000, "two\nlines"])
def test_a_picture_shows_any_name_as_it_stands(name: str, tmp_path: Path) -> None:
    llr = np.array([[0.0, -1.5, 0.25, 0.5]])
    save_figure(saturation_figure("A", llr, name, 9), tmp_path / "a.png")
    save_figure(confusion_matrix([[3, 1], [0, 2]], [name, "b"], name), tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes()[:4] == (tmp_path / "b.png").read_bytes()[:4] == b"\x89PNG"
