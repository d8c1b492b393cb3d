"""What pip, Docker and conda install: archives, dependencies, extras and their page."""

import ast
import io
import re
import shutil
import sys
import tarfile
import tomllib
import zipfile
from functools import cache
from itertools import chain
from pathlib import Path

import pytest
import yaml
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import dnamamba
from dnamamba import optional
from dnamamba.commands import environment
from dnamamba.optional import EXTRAS
from dnamamba.terminal import Console

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
PAGE = (ROOT / "docs" / "install.md").read_text("utf-8")
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
# What a distribution is imported as, where that is another name.
IMPORTED_AS = {"hydra-core": "hydra", "biopython": "Bio", "pyyaml": "yaml", "umap-learn": "umap"}
# Brought by a package of the core, and used only where that package hands it over.
WITH_CORE = {"omegaconf"}
# Other packages whose objects or files are worked with where a user has them.
OF_USERS = {"transformers", "pandas", "pybigtools", "llvmlite", "IPython", "gfmbench_api"}


def names(requirements: list[str]) -> list[str]:
    return [Requirement(one).name for one in requirements]


@cache
def imported() -> set[str]:
    """Top-level modules that the package and its programs import, anywhere."""
    found = set()
    for path in [*(ROOT / "dnamamba").rglob("*.py"), *(ROOT / "data_prep").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                found.add(str(node.module).partition(".")[0])
    return found - set(sys.stdlib_module_names) - {"dnamamba", "data_prep"}


def test_core_has_what_is_imported_and_nothing_else() -> None:
    core = {IMPORTED_AS.get(name, name) for name in names(PROJECT["dependencies"])}
    extras = {IMPORTED_AS.get(one, one) for extra in EXTRAS.values() for one in extra.packages}
    assert core <= imported()
    assert imported() - core - extras <= WITH_CORE | OF_USERS


def test_extras_are_those_of_the_project() -> None:
    assert set(EXTRAS) == set(PROJECT["optional-dependencies"]) - {"dev", "site"}
    for name, extra in EXTRAS.items():
        assert list(extra.packages) == names(PROJECT["optional-dependencies"][name])


@pytest.mark.parametrize("name", sorted(PROJECT["optional-dependencies"]))
def test_page_says_what_an_extra_adds_and_brings(name: str) -> None:
    (row,) = (line for line in PAGE.splitlines() if line.startswith(f"| `{name}` |"))
    if name in EXTRAS:
        _, _, adds, brings, _ = row.split("|")
        assert EXTRAS[name].adds in adds or EXTRAS[name].adds.split(",")[0] in adds
        assert tuple(brings.strip().split(", ")) == EXTRAS[name].packages


def test_page_names_every_package_of_the_core() -> None:
    section = PAGE[PAGE.index("| package | for |") :].partition("\n\n")[0]
    rows = [row.split("|")[1].strip().split(", ") for row in section.splitlines()[2:]]
    assert sorted(name for row in rows for name in row) == sorted(names(PROJECT["dependencies"]))


def test_info_says_how_to_have_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    there = {"numba": "0.68.1", "h5py": "3.16.0"}

    def version(name: str) -> str:
        if name in there:
            return there[name]
        raise optional.PackageNotFoundError

    monkeypatch.setattr(optional, "version", version)
    Console(width=200).print(environment._features())
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert rows["cpu"].rstrip().endswith("numba 0.68.1")
    assert "h5py 3.16.0, pip install 'dnamamba[embed]' (no zarr)" in rows["embed"]
    assert rows["mlflow"].rstrip().endswith("  pip install 'dnamamba[mlflow]'")


def test_full_mlflow_counts_as_its_part(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name == "mlflow":
            return "3.17.2"
        raise optional.PackageNotFoundError

    monkeypatch.setattr(optional, "version", version)
    assert optional.installed("mlflow-skinny") == "3.17.2"
    assert optional.installed("mlflow") == "3.17.2"
    assert optional.installed("wandb") is None


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheel, of what the Dockerfile copies, and the source archive of this checkout."""
    folder = tmp_path_factory.mktemp("archives")
    copied = folder / "src"
    copied.mkdir()
    for line in re.findall(r"^COPY (.+)$", DOCKERFILE, re.MULTILINE):
        *sources, target = line.split()
        for source in sources:
            if (ROOT / source).is_dir():
                skip = shutil.ignore_patterns("__pycache__")
                shutil.copytree(ROOT / source, copied / target, ignore=skip)
            else:
                shutil.copy(ROOT / source, copied / target)
    wheel = next(WheelBuilder(str(copied)).build(directory=str(folder), versions=["standard"]))
    source = next(SdistBuilder(str(ROOT)).build(directory=str(folder)))
    return {"wheel": Path(wheel), "source": Path(source)}


def test_version_stands_in_one_place(archives: dict[str, Path]) -> None:
    assert archives["wheel"].name == f"dnamamba-{dnamamba.__version__}-py3-none-any.whl"
    assert archives["source"].name == f"dnamamba-{dnamamba.__version__}.tar.gz"
    assert "version" in PROJECT["dynamic"]
    assert f"\nversion: {dnamamba.__version__}\n" in (ROOT / "CITATION.cff").read_text("utf-8")


def test_twine_finds_no_fault(archives: dict[str, Path]) -> None:
    check = pytest.importorskip("twine.commands.check").check
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdout", said)
        assert not check([str(path) for path in archives.values()], strict=True)


def test_wheel_has_every_module_and_configuration(archives: dict[str, Path]) -> None:
    with zipfile.ZipFile(archives["wheel"]) as archive:
        found = set(archive.namelist())
        metadata = archive.read(f"dnamamba-{dnamamba.__version__}.dist-info/METADATA").decode()
    for folder in ("dnamamba", "data_prep"):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert str(path.relative_to(ROOT)) in found
    for path in (ROOT / "conf").rglob("*.yaml"):
        assert f"dnamamba/{path.relative_to(ROOT)}" in found
    assert sorted(set(re.findall(r"^Provides-Extra: (.+)$", metadata, re.MULTILINE))) == sorted(
        PROJECT["optional-dependencies"]
    )


def test_description_stands_alone(archives: dict[str, Path]) -> None:
    """On a package index: no picture and no link of the repository, and every word of the text."""
    with zipfile.ZipFile(archives["wheel"]) as archive:
        metadata = archive.read(f"dnamamba-{dnamamba.__version__}.dist-info/METADATA").decode()
    shown = metadata.partition("\n\n")[2]
    assert shown.startswith("# dnamamba\n")
    assert not re.findall(r"!\[[^\]]*\]|\]\((?!https:|#)|<!--|^\*", shown, re.MULTILINE)
    assert "](https://arxiv.org/abs/2312.00752)" in shown
    assert "compared with Markov models of orders 0 to 8 scored on the same windows.\n\n`python -m" in shown
    assert "| text or sound instead of DNA |" in shown


def test_source_archive_has_tests_and_no_released_weights(archives: dict[str, Path]) -> None:
    with tarfile.open(archives["source"]) as archive:
        found = {name.partition("/")[2] for name in archive.getnames()}
    assert {"tests/test_install.py", "docs/install.md", "conf/pretrain.yaml", "constraints.txt"} <= found
    assert "dnamamba/data/yeast/model/model.safetensors" in found
    assert not [name for name in found if name.startswith("docs/models") and name.endswith(".safetensors")]


def test_dockerfile_has_a_python_and_extras_of_the_project() -> None:
    (python,) = re.findall(r"^FROM python:([0-9.]+)-slim$", DOCKERFILE, re.MULTILINE)
    assert SpecifierSet(PROJECT["requires-python"]).contains(python)
    assert f"Programming Language :: Python :: {python}" in PROJECT["classifiers"]
    (extras,) = re.findall(r"^ARG EXTRAS=(.+)$", DOCKERFILE, re.MULTILINE)
    assert set(extras.split(",")) <= set(EXTRAS)
    (torch,) = re.findall(r"^ARG TORCH=torch==(.+)$", DOCKERFILE, re.MULTILINE)
    assert f"torch=={torch}\n" in (ROOT / "constraints.txt").read_text("utf-8")
    ignored = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    for line in re.findall(r"^COPY (.+)$", DOCKERFILE, re.MULTILINE):
        for source in line.split()[:-1]:
            assert f"!{source}" in ignored


def test_conda_environment_has_pythons_and_extras_of_the_project() -> None:
    document = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))
    python, pip, inner = document["dependencies"]
    assert (python.partition(">")[0], pip) == ("python", "pip")
    allowed = SpecifierSet(python.removeprefix("python"))
    versions = [f"3.{minor}" for minor in range(9, 16)]
    classified = [
        one for one in versions if f"Programming Language :: Python :: {one}" in PROJECT["classifiers"]
    ]
    assert [one for one in versions if allowed.contains(one)] == classified
    assert inner["pip"][0] == "-c constraints.txt"
    (extras,) = re.findall(r"^-e \.\[(.+)\]$", inner["pip"][1])
    assert set(extras.split(",")) <= set(EXTRAS)


def test_tested_versions_are_allowed_ones() -> None:
    pins = dict(re.findall(r"^([\w.-]+)==(.+)$", (ROOT / "constraints.txt").read_text("utf-8"), re.MULTILINE))
    pins = {name.lower().replace("_", "-"): value for name, value in pins.items()}
    wanted = [*PROJECT["dependencies"], *chain.from_iterable(PROJECT["optional-dependencies"].values())]
    for one in map(Requirement, wanted):
        pinned = pins.get(one.name.lower().replace("_", "-"))
        assert pinned is None or one.specifier.contains(pinned), one
