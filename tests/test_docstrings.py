"""The examples in docstrings of how to train from Python run as they stand."""

import doctest
import inspect
from pathlib import Path

import pytest

from dnamamba.training.finetuning import Finetuning
from dnamamba.training.pretraining import Pretraining


@pytest.mark.parametrize("recipe", [Pretraining, Finetuning])
def test_example_of_recipe_gives_what_it_shows(
    recipe: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With nothing but what the example itself imports, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    text = inspect.getdoc(recipe)
    assert text is not None
    example = doctest.DocTestParser().get_doctest(text, {}, recipe.__name__, None, 0)
    said: list[str] = []
    result = doctest.DocTestRunner(verbose=False).run(example, out=said.append)
    assert result.attempted >= 4
    assert result.failed == 0, "".join(said)
