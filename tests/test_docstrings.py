"""The examples in docstrings run as they stand, and every public function has one."""

import doctest
import inspect
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import dnamamba

PACKAGE = Path(dnamamba.__file__).parent
RECIPES = ("Pretraining", "Finetuning")
FUNCTIONS = [name for name in dnamamba.__all__ if inspect.isfunction(getattr(dnamamba, name))]
PUBLIC = {getattr(dnamamba, name) for name in (*RECIPES, *FUNCTIONS)}
# Those of compat change what the whole process imports; tests/compat runs the same in processes of their own.
WITH_EXAMPLES = [
    path
    for path in sorted(PACKAGE.rglob("*.py"))
    if ">>> " in path.read_text() and path.parent.name != "compat"
]


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what an example writes lie in a folder of its own."""
    monkeypatch.chdir(tmp_path)


def check(example: doctest.DocTest) -> None:
    said: list[str] = []
    result = doctest.DocTestRunner(verbose=False).run(example, out=said.append)
    assert result.attempted > 0
    assert result.failed == 0, "".join(said)


@pytest.mark.parametrize("name", [*RECIPES, *FUNCTIONS])
def test_example_of_public_name_runs(name: str) -> None:
    """With nothing but what the example itself imports."""
    text = inspect.getdoc(getattr(dnamamba, name))
    assert text is not None
    check(doctest.DocTestParser().get_doctest(text, {}, name, None, 0))


def test_the_functions_are_those_of_the_package() -> None:
    assert {"embed", "generate", "load", "predict", "score_variants", "selective_scan"} <= set(FUNCTIONS)


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_examples_of_module_run(path: Path) -> None:
    """With what the module itself has; those of public names have run on their own."""
    name = ".".join(("dnamamba", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
    module: Any = import_module(name)
    found = [each for each in doctest.DocTestFinder().find(module) if each.examples]
    for each in found:
        if getattr(module, each.name.removeprefix(f"{name}."), None) not in PUBLIC:
            check(each)
