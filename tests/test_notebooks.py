"""The notebooks run, are kept without outputs, and are shown in docs/notebooks as they are."""

import ast
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import pytest

from dnamamba import UserError
from dnamamba.config import composed
from tests.notebook_here import Notebooks

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"), key=lambda path: int(path.stem.partition("_")[0]))
RENDERED = ROOT / "docs" / "notebooks"
LIMIT = 120  # seconds that a notebook may take
RENDER = ROOT / "notebooks" / "render.py"


def cells_of(path: Path) -> list[nbformat.NotebookNode]:
    return nbformat.read(path, as_version=4).cells


def numbers(text: str, pattern: str) -> tuple[float, ...]:
    found = re.search(pattern, text)
    assert found, f"nothing like {pattern} in:\n{text}"
    return tuple(map(float, found.groups()))


def pretraining(text: str) -> None:
    bits, order_2 = numbers(text, r"test +model ([\d.]+) +order 2 ([\d.]+)")
    assert order_2 == 1.953
    assert 1.93 < bits < order_2 + 0.005


def finetuning(text: str) -> None:
    accuracy, low, _ = numbers(text, r"accuracy ([\d.]+), 95 % interval ([\d.]+) to ([\d.]+)")
    (largest,) = numbers(text, r"largest class: ([\d.]+)")
    assert largest == 0.387
    assert largest < low < accuracy


def great_apes(text: str) -> None:
    assert numbers(text, r"orangutan +16.0 +21,802 +([\d.]+) +16,289") == (2.08,)
    accuracy, low, high = numbers(text, r"accuracy ([\d.]+), 95 % interval ([\d.]+) to ([\d.]+)")
    assert low <= accuracy <= high
    assert 0.05 < accuracy < 0.35


def embeddings(text: str) -> None:
    (by_gc,) = numbers(text, r"by the share of G and C alone +([\d.]+)")
    (by_fit,) = numbers(text, r"by a linear fit of whole vectors +([\d.]+)")
    assert by_gc == 0.79
    assert by_fit > 0.93


def variants_and_tracks(text: str) -> None:
    (within,) = numbers(text, r"log-likelihood in genes: (\S+) bits")
    (between,) = numbers(text, r"log-likelihood between genes: (\S+) bits")
    assert within < between - 0.01
    (to_c_or_g,) = numbers(text, r"A or T to C or G +132 +(\S+)")
    (to_a_or_t,) = numbers(text, r"C or G to A or T +80 +(\S+)")
    assert to_c_or_g < -0.5
    assert to_a_or_t > 0.3


def peaks(text: str) -> None:
    (anywhere,) = numbers(text, r"anywhere +\d+ +\S+% +([\d.]+)")
    (matched,) = numbers(text, r"matched +\d+ +\S+% +([\d.]+)")
    assert anywhere > 0.6
    assert abs(matched - 0.5) <= 0.01
    _, low, _ = numbers(text, r"auroc ([\d.]+), 95 % interval ([\d.]+) to ([\d.]+)")
    assert low > 0.7


def annotation(text: str) -> None:
    f1 = r"([\d.]+), [\d.]+ to [\d.]+ +[\d.]+\n"
    (model,) = numbers(text, rf"model +{f1}")
    (majority,) = numbers(text, rf"majority class +{f1}")
    (hmm,) = numbers(text, rf"HMM +{f1}")
    assert majority + 0.1 < model < hmm


def signal(text: str) -> None:
    value, low, _ = numbers(text, r"model +Pearson's correlation ([\d.]+), 95 % interval (\S+) to (\S+)\n")
    _, _, of_words = numbers(text, r"linear +Pearson's correlation (\S+), 95 % interval (\S+) to (\S+)\n")
    assert low > 0.1
    assert value < of_words


def saturation(text: str) -> None:
    _, low, high = numbers(text, r"same promoter: ([-+][\d.]+), 95 % interval ([-+][\d.]+) to ([-+][\d.]+)")
    assert 0 < low < high < 0.5


def generation(text: str) -> None:
    assert "under the rules: 6 of 6 break no rule" in text
    (free,) = numbers(text, r"without them: (\d) of 6 break no rule")
    assert free < 6
    random, written = numbers(text, r"one by one +([\d.]+)\n +written by the model +([\d.]+)")
    assert random < written


def chromosome(text: str) -> None:
    (bits,) = numbers(text, r"([\d.]+) bits per base, of 2")
    assert abs(bits - 1.933) < 0.002
    with_gc, with_coding = numbers(text, r"share of G and C +(\S+)\n +with the share that is coding +(\S+)")
    assert abs(with_coding) < 0.2 < 0.6 < with_gc
    contexts = re.findall(r"\n +(1|4|16|64|256) +([\d.]+) +([\d.]+)", text)
    differences = [float(difference) for _, _, difference in contexts]
    assert len(differences) == 5
    assert differences == sorted(differences, reverse=True)
    (everything,) = numbers(text, r"\n +all +([\d.]+)")
    assert all(abs(float(bits) - everything) < 0.01 for _, bits, _ in contexts[3:])


def caduceus(text: str) -> None:
    (mamba,) = numbers(text, r"mamba +65,984 parameters; strands differ by (\S+) of")
    (other,) = numbers(text, r"caduceus +27,744 parameters; strands differ by (\S+) of")
    assert other < 1e-4 < 0.5 < mamba
    (by_gc,) = numbers(text, r"share of G and C +AUROC ([\d.]+)")
    for name in ("mamba", "caduceus"):
        untrained, low, high = numbers(
            text, rf"{name}, untrained +AUROC ([\d.]+), 95 % interval ([\d.]+) to ([\d.]+)"
        )
        (trained,) = numbers(text, rf"{name}, trained +AUROC ([\d.]+)")
        assert by_gc < min(untrained, trained)
        assert low < trained < high


SHOWN: dict[str, Callable[[str], None]] = {
    "1_pretrain": pretraining,
    "2_finetune": finetuning,
    "3_great_apes": great_apes,
    "4_embeddings": embeddings,
    "5_variants_and_tracks": variants_and_tracks,
    "6_peaks": peaks,
    "7_annotate": annotation,
    "8_signal": signal,
    "9_saturation": saturation,
    "10_generate": generation,
    "11_chromosome": chromosome,
    "12_caduceus": caduceus,
}


# Trained here for fewer steps, and held to the same statements; whole in docs/notebooks and by -m robustness.
FEWER = {
    "1_pretrain": ("STEPS = 80 ", "STEPS = 48 "),
    "7_annotate": ("STEPS = 40\n", "STEPS = 20\n"),
    "8_signal": ("STEPS = 32\n", "STEPS = 24\n"),
    "12_caduceus": ("STEPS, LENGTH = 24, 256", "STEPS, LENGTH = 12, 256"),
}


def with_fewer_steps(path: Path, folder: Path) -> Path:
    """Write the notebook with fewer steps of training to `folder`, where it has so many."""
    if path.stem not in FEWER:
        return path
    typed, fewer = FEWER[path.stem]
    notebook = nbformat.read(path, as_version=4)
    sizes = next(cell for cell in notebook.cells if cell.cell_type == "code")
    assert sizes.source.count(typed) == 1
    sizes.source = sizes.source.replace(typed, fewer)
    nbformat.write(notebook, folder / path.name)
    return folder / path.name


def test_all_are_here() -> None:
    assert [path.stem for path in NOTEBOOKS] == list(SHOWN)
    assert {path.stem for path in RENDERED.glob("*_*.md")} == set(SHOWN)


@pytest.fixture(scope="module")
def notebooks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notebooks]:
    backend = "module://matplotlib_inline.backend_inline"
    running = Notebooks({"IPYTHONDIR": str(tmp_path_factory.mktemp("ipython")), "MPLBACKEND": backend})
    yield running
    running.close()


def check_run(path: Path, tmp_path: Path, notebooks: Notebooks) -> None:
    """Run a notebook: what it says, its pictures, and its time."""
    (tmp_path / "work").mkdir()
    assert not notebooks.run(path, tmp_path / "out", tmp_path / "work")
    assert notebooks.seconds < LIMIT, f"{notebooks.seconds:.1f} s of a processor"
    print(f"{notebooks.seconds:.1f} s")
    text = (tmp_path / "out" / f"{path.stem}.md").read_text()
    SHOWN[path.stem](text)
    assert "\x1b" not in text, "escapes of a terminal"
    assert "Warning" not in text
    pictures = sorted(picture.name for picture in RENDERED.glob(f"{path.stem}_*.png"))
    assert sorted(picture.name for picture in (tmp_path / "out").glob("*.png")) == pictures


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs(path: Path, tmp_path: Path, notebooks: Notebooks) -> None:
    check_run(with_fewer_steps(path, tmp_path), tmp_path, notebooks)


# For the table of docs/notebooks/README.md: pytest -m robustness -rP tests/test_notebooks.py
@pytest.mark.robustness
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs_whole(path: Path, tmp_path: Path, notebooks: Notebooks) -> None:
    check_run(path, tmp_path, notebooks)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_is_kept_without_outputs(path: Path) -> None:
    cells = cells_of(path)
    for cell in cells:
        assert not cell.metadata, cell.id
        if cell.cell_type == "code":
            assert (cell.outputs, cell.execution_count) == ([], None), "python notebooks/strip.py"
    assert len({cell.id for cell in cells}) == len(cells)


def test_stripping(tmp_path: Path) -> None:
    notebook = nbformat.v4.new_notebook(metadata={"widgets": {}})
    output = nbformat.v4.new_output("stream", text="2\n")
    cell = nbformat.v4.new_code_cell("1 + 1", id="sum", execution_count=3, outputs=[output])
    notebook.cells = [cell]
    path = tmp_path / "run.ipynb"
    nbformat.write(notebook, path)
    subprocess.run([sys.executable, str(ROOT / "notebooks" / "strip.py"), str(path)], check=True)
    (found,) = cells_of(path)
    assert (found.id, found.source, found.outputs, found.execution_count) == ("sum", "1 + 1", [], None)
    assert set(nbformat.read(path, as_version=4).metadata) == {"kernelspec", "language_info"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_is_shown_as_it_is(path: Path) -> None:
    text = (RENDERED / f"{path.stem}.md").read_text()
    place = 0
    for cell in cells_of(path):
        place = text.find(cell.source, place)
        assert place >= 0, f"cell {cell.id} is not in {RENDERED}: python notebooks/render.py docs/notebooks"
    linked = re.findall(r"\]\((\S+\.png)\)", text)
    assert sorted(linked) == sorted(picture.name for picture in RENDERED.glob(f"{path.stem}_*.png"))
    assert linked
    assert "## Now on your data" in text
    SHOWN[path.stem](text)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_commands_for_own_data_are_accepted(path: Path) -> None:
    last = cells_of(path)[-1].source.partition("## Now on your data")[2]
    commands = re.findall(r"(?m)^    dnamamba (.+)$", last)
    assert commands
    for line in commands:
        name, *words = shlex.split(line)
        composed(name, words)


def test_a_notebook_fails_alone_and_sees_no_names_of_another(tmp_path: Path, notebooks: Notebooks) -> None:
    for name, source in (("first", "number = 1 / 1"), ("second", "number")):
        cells = [nbformat.v4.new_code_cell(source)]
        nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / f"{name}.ipynb")
    wrong = [
        notebooks.run(tmp_path / f"{name}.ipynb", tmp_path / f"{name}_{n}", tmp_path)
        for n, name in enumerate(("first", "second", "first"))
    ]
    assert (wrong[0], wrong[2]) == ("", "")
    assert "NameError: name 'number' is not defined" in wrong[1]
    assert {path.name for path in tmp_path.glob("*_?")} == {"first_0", "first_2"}


def test_a_kernel_runs_cells_until_one_fails(tmp_path: Path) -> None:
    """What `notebook_here` stands for: a kernel, its bash and its pictures."""
    drawing = "from IPython.display import Image\nImage(bytes.fromhex('89504e470d0a1a0a'), format='png')"
    cells = ("6 * 7", "%%bash -s {6}\npython -c \"print('$1' * 2)\"", drawing)
    (tmp_path / "cells").mkdir()
    for name, sources in (("good", cells), ("broken", ("1 / 0",))):
        code = [nbformat.v4.new_code_cell(source) for source in sources]
        nbformat.write(nbformat.v4.new_notebook(cells=code), tmp_path / "cells" / f"{name}.ipynb")
    command = [sys.executable, str(RENDER), str(tmp_path / "out")]
    own = {"IPYTHONDIR": str(tmp_path / "ipython"), "JUPYTER_RUNTIME_DIR": str(tmp_path / "jupyter")}
    paths = [str(tmp_path / "cells" / f"{name}.ipynb") for name in ("good", "broken")]
    run = subprocess.run(command + paths, env=os.environ | own, capture_output=True, text=True)
    assert run.returncode == 1
    assert "ZeroDivisionError" in run.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"good.md", "good_1.png"}
    text = (tmp_path / "out" / "good.md").read_text()
    assert "```python\n6 * 7\n```\n\n```text\n42\n```" in text
    assert "```text\n66\n```" in text


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [("chrI", start) for start in range(0, 230_000, 300)],
            r"^peaks\.narrowPeak: chrI has 767 peaks and 0 places away from them; set a smaller "
            "LENGTH, or leave its rows out$",
        ),
        ([("chr9", 1000)], "no record 'chr9'"),
    ],
)
def test_peaks_without_a_background_are_one_line(
    rows: list[tuple[str, int]], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [f"{name}\t{start}\t{start + 200}\tx\t0\t.\t5\t-1\t-1\t100\n" for name, start in rows]
    Path("peaks.narrowPeak").write_text("".join(lines))
    names: dict[str, object] = {}
    first, _, background, *_ = (cell for cell in cells_of(NOTEBOOKS[5]) if cell.cell_type == "code")
    exec(first.source, names)
    with pytest.raises(UserError, match=message):
        exec(background.source, names)


def test_our_pictures_leave_those_of_a_notebook_alone() -> None:
    code = (
        "import matplotlib as m; m.use('svg'); import dnamamba.reports.figures; "
        "assert m.get_backend() == 'svg'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_each_is_an_example_at_the_top_of_a_page() -> None:
    found: set[str] = set()
    for page in (ROOT / "docs").glob("*.md"):
        opening = page.read_text("utf-8").partition("\n\n")[2].partition("\n\n")[0]
        if opening.startswith("*Worked example"):
            found |= set(re.findall(r"\]\(notebooks/(\w+)\.md\)", opening))
    assert found == set(SHOWN)


def names_of(cell: nbformat.NotebookNode, context: type[ast.expr_context]) -> set[str]:
    """Names that a cell of Python sets (ast.Store) or uses (ast.Load), those of its functions included."""
    nodes = list(ast.walk(ast.parse("" if cell.source.startswith("%%") else cell.source)))
    found = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, context)}
    if context is ast.Store:
        found |= {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
    return found


def missing_without(cells: list[nbformat.NotebookNode], left_out: int) -> set[str]:
    """Names that only the cell which is left out sets, and a later one uses."""
    gone, known, missing = names_of(cells[left_out], ast.Store), set[str](), set[str]()
    for number, cell in enumerate(cells):
        if cell.cell_type == "code" and number != left_out:
            known |= names_of(cell, ast.Store)
            missing |= names_of(cell, ast.Load) & gone - known if number > left_out else set()
    return missing


def test_later_cells_do_without_the_one_to_leave_out() -> None:
    pieces = []
    for path in NOTEBOOKS:
        cells = cells_of(path)
        for number, cell in enumerate(cells):
            if cell.cell_type == "markdown" and "leave out this cell" in cell.source:
                pieces.append(path.stem)
                assert missing_without(cells, number + 1) == set(), path.stem
    assert pieces == ["5_variants_and_tracks", "6_peaks", "7_annotate", "8_signal"]


def test_a_name_of_the_cell_to_leave_out_is_missed() -> None:
    code = ("a = 1", "b = 2\nc = 3", "print(a, b)\nc = 4\nprint(c)")
    assert missing_without([nbformat.v4.new_code_cell(source) for source in code], 1) == {"b"}


def test_own_files_are_named_as_text() -> None:
    """`GENES = "my.bed"` in a first cell: no later one may need a Path."""
    for path in NOTEBOOKS:
        for cell in cells_of(path):
            found = re.findall(r"\b(?!YEAST_)[A-Z]+\.(?:read_|open)\w*", cell.source)
            assert not found, f"{path.stem}: {found}"
