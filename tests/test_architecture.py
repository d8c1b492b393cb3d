"""The layers of docs/architecture.md, held by reading every import; and how light `import dnamamba` is."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import dnamamba

PACKAGE = Path(dnamamba.__file__).parent

# What each part of the package may import of the others. An entry point is a file of the top level.
MAY_IMPORT = {
    "errors": set(),
    "files": set(),
    "optional": {"errors"},
    "kernels": set(),
    "data": {"errors"},
    "models": {"errors", "kernels", "data"},
    "checkpoint": {"errors", "models"},
    "tasks": {"errors", "files", "models", "data"},
    "figures": {"files"},
    "config": {"errors"},
    "resume": {"errors", "models", "checkpoint", "figures", "tasks"},
    "trainer": {"errors", "config", "tasks"},
    "run": {
        "errors",
        "files",
        "models",
        "data",
        "checkpoint",
        "tasks",
        "figures",
        "config",
        "resume",
        "trainer",
    },
    "inference": {"errors", "files", "optional", "models", "data", "checkpoint", "figures", "kernels"},
    "environment": {"kernels"},
    "info": {"environment"},
    "embed": {"config", "inference"},
    "tracks": {"config", "inference"},
    "generate": {"config", "inference"},
    "pretrain": {"config", "run"},
    "cost": {"models"},
    "planning": {"errors", "data", "models", "tasks", "config", "cost", "trainer", "run"},
    "plan": {"config", "planning"},
    "outcome": {"files", "models", "tasks", "figures"},
    "finetuning": {
        "outcome",
        "errors",
        "files",
        "models",
        "data",
        "checkpoint",
        "tasks",
        "figures",
        "config",
        "resume",
        "trainer",
        "run",
    },
    "prediction": {
        "errors",
        "files",
        "models",
        "data",
        "checkpoint",
        "tasks",
        "config",
        "run",
        "finetuning",
        "outcome",
    },
    "finetune_plan": {"errors", "data", "tasks", "config", "trainer", "planning", "finetuning"},
    "finetune": {"config", "finetuning", "finetune_plan", "prediction"},
    "score": {"config", "inference"},
}
# Third-party packages that only these parts know.
HOME_OF = {
    "triton": {"kernels"},
    "lightning": {"tasks", "trainer", "run", "finetuning"},
    "hydra": {"config", "trainer", "run", "finetuning"},
    "omegaconf": {
        "config",
        "trainer",
        "run",
        "pretrain",
        "plan",
        "planning",
        "generate",
        "embed",
        "tracks",
        "score",
        "finetune",
        "finetuning",
        "finetune_plan",
        "prediction",
    },
    "torchmetrics": {"tasks"},
    "peft": {"tasks"},
    "pyarrow": {"data", "inference"},
    "pyfaidx": {"data"},
    "Bio": {"data"},
    "matplotlib": {"figures", "inference"},
    "h5py": {"inference"},
    "zarr": {"inference"},
    "anndata": {"inference"},
    "pyBigWig": {"inference"},
}


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(path: Path) -> set[str]:
    """Absolute names of all modules that a file imports, at its top or within."""
    package = ["dnamamba", *path.relative_to(PACKAGE).parts[:-1]]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            found.update({module, *(f"{module}.{alias.name}" for alias in node.names)})
    return found


FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py" or path.parent != PACKAGE)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_points_back_up(path: Path) -> None:
    part = part_of(path)
    assert part in MAY_IMPORT, f"{part} is in no layer: give it one in MAY_IMPORT"
    for module in imports_of(path):
        top, _, rest = module.partition(".")
        if top == "dnamamba" and rest:
            other = rest.partition(".")[0]
            if other in MAY_IMPORT:
                assert other == part or other in MAY_IMPORT[part], f"{path.name} imports {module}"
        elif top in HOME_OF:
            assert part in HOME_OF[top], f"{path.name} imports {module}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_what_is_printed_keeps_its_letters(path: Path) -> None:
    """Rich makes an emoji of `:100:`, and a record and a place are written just so."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Console":
            options = {
                option.arg: ast.literal_eval(option.value)
                for option in node.keywords
                if option.arg == "emoji"
            }
            assert options == {"emoji": False}, f"line {node.lineno}"


def test_the_layers_have_no_cycle() -> None:
    done: set[str] = set()
    while len(done) < len(MAY_IMPORT):
        free = {part for part, others in MAY_IMPORT.items() if part not in done and others <= done}
        assert free, f"a cycle among {sorted(set(MAY_IMPORT) - done)}"
        done |= free


def run_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_import_is_light() -> None:
    heavy = ("torch", "triton", "lightning", "hydra", "omegaconf", "numpy", "matplotlib", "pyfaidx")
    loaded = run_python(f"import sys, dnamamba; print([m for m in {heavy!r} if m in sys.modules])")
    assert loaded.strip() == "[]"
    times = [
        float(
            run_python(
                "import time; t = time.perf_counter(); import dnamamba; print(time.perf_counter() - t)"
            )
        )
        for _ in range(3)
    ]
    assert min(times) < 0.2


def test_kernels_and_models_load_without_triton_or_lightning() -> None:
    heavy = ("triton", "lightning", "hydra")
    code = f"import sys, dnamamba.models; print([m for m in {heavy!r} if m in sys.modules])"
    assert run_python(code).strip() == "[]"


def test_a_function_keeps_its_name_when_the_command_of_that_name_is_imported() -> None:
    code = """
import sys, dnamamba, dnamamba.embed
from dnamamba.tracks import main
from dnamamba import embed
for name in ("embed", "tracks"):
    assert f"dnamamba.{name}" in sys.modules
assert embed is dnamamba.embed is sys.modules["dnamamba.inference.embedding"].embed
assert dnamamba.tracks is sys.modules["dnamamba.inference.tracks"].tracks
import dnamamba.config
assert dnamamba.config is sys.modules["dnamamba.config"]
"""
    run_python(code)


def test_every_public_name_is_there() -> None:
    for name in dnamamba.__all__:
        assert getattr(dnamamba, name) is not None
    assert set(dnamamba.__all__) <= set(dir(dnamamba))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        dnamamba.nothing  # noqa: B018
