"""The layers of docs/architecture.md, held file by file; and how light `import dnamamba` is."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import dnamamba

PACKAGE = Path(dnamamba.__file__).parent

CONFIGURING = tuple(
    f"commands.{name}"
    for name in (
        "data_sets",
        "entry",
        "experiments",
        "help",
        "mistakes",
        "overrides",
        "paths",
        "resumed",
        "schema",
        "sweep",
        "unused",
        "pages",
        "schema",
        "yaml_files",
    )
)
# From the ground up. A file belongs to the longest name that it begins with, and imports nothing above it.
LAYERS = (
    (
        *(
            "auto",
            "claims",
            "documents",
            "escaping",
            "errors",
            "files",
            "neighbours",
            "optional",
            "plugins",
            "processes",
            "reached",
            "seals",
            "shortages",
        ),
        "terminal",
    ),
    ("kernels", "data", "reports.figures"),
    ("heads",),
    ("models", "compat"),
    ("building", "checkpoint", "foreign", "hub", "weights"),
    ("objectives",),
    ("datasets", "reports"),
    ("config", "planning.cost", *CONFIGURING),
    ("training", "tasks"),
    ("planning",),
    ("inference", "plots"),
    ("suite",),
    ("commands",),
    (
        *("pretrain", "finetune", "plan", "embed", "score", "tracks", "generate", "benchmark", "predict"),
        *("attribute", "demo"),
        *("export", "prepare", "info", "report", "__main__"),
    ),
)
ENTRIES = LAYERS[-1]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
# Third-party packages that only these rooms know.
HOME_OF = {
    "triton": {"kernels"},
    "numba": {"kernels"},
    "lightning": {"datasets", "training", "commands"},
    "hydra": {"config", "commands"},
    "omegaconf": {"config", "commands", *ENTRIES},
    "torchmetrics": {"objectives"},  # and commands.lean, which loads it by name
    "peft": {"training.lora"},
    "huggingface_hub": {"hub"},
    "pooch": {"weights"},
    "umap": {"reports.maps"},
    "tokenizers": {"inference"},
    "pyarrow": {"data", "inference"},
    "openpyxl": {"data"},
    "pyfaidx": {"data"},
    "Bio": {"data"},
    "matplotlib": {"reports", "heads", "suite", "plots", "commands.demo_stops"},
    "h5py": {"inference"},
    "zarr": {"inference"},
    "anndata": {"inference"},
    "pyBigWig": {"data", "inference"},
    "soundfile": {"data"},
}


def name_of(path: Path) -> str:
    """A file's name from the package on, such as `models.mamba.config`."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


def within(name: str, room: str) -> bool:
    return name == room or name.startswith(f"{room}.")


def rank_of(name: str) -> int:
    rooms = [room for room in RANK if within(name, room)]
    assert rooms, f"{name} is in no layer: give it one in LAYERS"
    return RANK[max(rooms, key=len)]


def imports_of(path: Path, *, at_import: bool = False) -> set[str]:
    """Absolute names of the modules that a file imports; with `at_import`, of those that it needs at once."""
    package = ["dnamamba", *path.relative_to(PACKAGE).parts[:-1]]
    found: set[str] = set()
    waiting: list[ast.AST] = [ast.parse(path.read_text())]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if at_import and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        waiting.extend(ast.iter_child_nodes(node))
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            found.update({module, *(f"{module}.{alias.name}" for alias in node.names)})
    return found


FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py" or path.parent != PACKAGE)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_file_imports_a_layer_above_it(path: Path) -> None:
    name = name_of(path)
    for module in imports_of(path):
        top, _, rest = module.partition(".")
        if top == "dnamamba" and rest and any(within(rest, room) for room in RANK):
            assert rank_of(rest) <= rank_of(name), f"{name} imports {module}"
        elif top in HOME_OF:
            assert any(within(name, room) for room in HOME_OF[top]), f"{name} imports {module}"


def test_no_import_circle() -> None:
    """File by file: what a package's `__init__` gathers counts as a file of its own."""
    names = {name_of(path): path for path in FILES}
    needs = {
        name: {
            module.removeprefix("dnamamba.")
            for module in imports_of(path, at_import=True)
            if module.removeprefix("dnamamba.") in names and module.startswith("dnamamba.")
        }
        - {name}
        for name, path in names.items()
    }
    done: set[str] = set()
    while len(done) < len(needs):
        free = {name for name, others in needs.items() if name not in done and others <= done}
        assert free, f"a circle among {sorted(set(needs) - done)}"
        done |= free


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_one_console_prints(path: Path) -> None:
    """Rich's own obeys names from files; the one of `terminal.py` does not. Tables go by `TsvWriter`."""
    text = path.read_text()
    if path.name not in ("terminal.py", "escaping.py"):
        assert not ("import Console" in text and "Console(" in text and "dnamamba.terminal" not in text)
        assert "csv.writer" not in text


def run_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_import_is_light() -> None:
    heavy = ("torch", "triton", "lightning", "hydra", "omegaconf", "numpy", "matplotlib", "pyfaidx")
    loaded = run_python(f"import sys, dnamamba; print([m for m in {heavy!r} if m in sys.modules])")
    assert loaded.strip() == "[]"
    # Seconds of this process, whatever else the machine is at.
    code = "import time; t = time.process_time(); import dnamamba; print(time.process_time() - t)"
    assert min(float(run_python(code)) for _ in range(3)) < 0.2


def test_commands_import_only_what_they_use() -> None:
    """In the order of what they load; a command's own file imports the rest once its settings are right."""
    libraries = ("matplotlib", "pandas", "sklearn", "scipy", "transformers", "pyarrow", "h5py", "zarr")
    training = ("lightning", "torchmetrics", "sympy")
    steps = (
        ("settings", [f"dnamamba.{name}" for name in ENTRIES if name != "__main__"], (*training, "torch")),
        ("kernels and models", ["dnamamba.models"], (*training, "triton")),
        (
            "answers",
            [
                f"dnamamba.commands.{name}"
                for name in ("embed", "predict", "generate", "tracks", "predict_mode")
            ],
            (*training, "triton"),
        ),
    )
    last = [f"dnamamba.commands.{name}" for name in ("pretrain", "finetune")]
    code = f"""
import sys
from importlib import import_module
for step, modules, absent in {steps!r}:
    for module in modules:
        import_module(module)
    print(step, [m for m in (*absent, *{libraries!r}) if m in sys.modules])
from dnamamba.commands.lean import load_torchmetrics
from lightning_utilities.core.imports import RequirementCache
load_torchmetrics({{"data": {{"_target_": "dnamamba.datasets.genome.GenomeData"}}}})
for module in {last!r}:
    import_module(module)
print("training", [m for m in {libraries!r} if m in sys.modules and m != "matplotlib"])
import torchmetrics.utilities.imports as known
print("torchmetrics" in sys.modules, bool(RequirementCache("scipy")), bool(known._SCIPY_AVAILABLE))
"""
    nothing = "".join(f"{step} []\n" for step, *_ in (*steps, ("training",)))
    assert run_python(code) == nothing + "True True True\n"


def test_settings_of_data_sets_load_without_torch() -> None:
    code = "import sys; from dnamamba.commands.data_sets import keys_of_files; keys_of_files()"
    assert run_python(f"{code}; print('torch' in sys.modules)").strip() == "False"


def test_function_keeps_its_name_when_command_is_imported() -> None:
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
