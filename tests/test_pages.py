"""Every block of code of README and site runs, is read as its program would read it, or says why not."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from markdown_it import MarkdownIt

import dnamamba
from dnamamba.kernels import use
from dnamamba.objectives.task_config import TaskConfig
from tests import pages, pages_home
from tests.pages import PAGES, Block, Called, blocks, called, inline, lines, read

# Pages whose Python other tests run as it is printed, with what it finds.
ELSEWHERE = {"docs/plots.md": "test_plots_page.py", "docs/plugins.md": "test_plugins_page.py"}
# Settings that make a training a matter of a second, after a command's own.
QUICK = {
    "pretrain": "train.max_steps=2 train.global_batch_size=2 train.validate_every=2 train.checkpoint_every=2 "
    "train.log_every=1 data.batch_size=2 data.max_length=64 data.valid_windows=2 model.d_model=32 "
    "model.n_layer=1",
    "finetune": "train.max_steps=2 train.global_batch_size=4 train.validate_every=2 train.log_every=1 "
    "data.batch_size=4 task.bootstrap=10 task.baselines=false",
}
READING = ("attribute", "embed", "export", "generate", "predict", "report", "score", "tracks")
FOLDERS = {"pretrain": "logs/pretrain/runs/<time>", "finetune": "logs/finetune/runs/<time>"}
# What a command is read and not run for here, by a part of its words.
TOO_MUCH = (
    "trainer=",  # a GPU, or several
    "experiment=",  # its genomes, or hours
    "pretrain model=",  # its size; tests/models trains each family
    "data=species",  # several genomes; tests/test_species.py trains on them
    "--",  # a sweep, tests/commands/test_sweep.py; help
    "owner/name",  # models of the Hub
    "kuleshov-group/",
    "state-spaces/",
    "path/to/",
    "format=hf",  # transformers' import takes seconds; tests/commands/test_export.py writes it
)


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files and runs that pages name."""
    folder = tmp_path_factory.mktemp("pages")
    pages_home.make(folder)
    return folder


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the trainings of a page's Python a matter of two steps, without baselines."""
    few = {"max_steps": 2, "global_batch_size": 2, "validate_every": 2, "log_every": 1}
    pretraining, finetuning = dnamamba.Pretraining, dnamamba.Finetuning

    def pretrained(folder: str, data: dnamamba.GenomeConfig, train: dnamamba.TrainConfig) -> object:
        small = replace(data, batch_size=2, markov_orders=[0])
        return pretraining(folder, small, train=replace(train, **few), quiet=True)

    def tuned(folder: str, data: dnamamba.LabelledConfig, model: object) -> object:
        task, train = TaskConfig(baselines=False, bootstrap=10), dnamamba.FinetuneTrainConfig(**few)
        return finetuning(folder, replace(data, batch_size=2), model, task=task, train=train, quiet=True)

    monkeypatch.setattr(dnamamba, "Pretraining", pretrained)
    monkeypatch.setattr(dnamamba, "Finetuning", tuned)


@pytest.fixture(autouse=True)
def own_backend() -> Iterator[None]:
    """End what a page chose for its whole process: other tests run in it."""
    with use("auto"):
        yield


@pytest.fixture
def folder(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A page's own copy of them, as working directory; where there is no GPU, the CPU stands for it."""
    pages_home.copy(home, tmp_path / "page")
    monkeypatch.chdir(tmp_path / "page")
    monkeypatch.setattr(torch.nn.Module, "cuda", lambda self: self)
    return tmp_path / "page"


def execute(call: Called, folder: Path) -> None:
    """Run a command of a page, a training in two steps; or read it, where it would take too much."""
    words = pages.overrides(call.words)
    text = " ".join([call.name, *call.words])
    much = call.kind != "command" or call.several or any(part in text for part in TOO_MUCH)
    much |= call.name in QUICK and "data." not in text  # the package's genome
    if much or call.name not in (*QUICK, *READING):
        read(call)
        return
    pages_home.given(folder, words)
    words = [word.replace("100829", "100734") for word in words]  # a region of 6 bases for one of 101
    words += ["length=50"] if call.name == "generate" else []
    out = next((word.partition("=")[2] for word in words if word.startswith("out=")), None)
    for written in (folder / out, (folder / out).with_suffix(".png")) if out else ():
        written.unlink(missing_ok=True)  # of another command of the page, an alternative to this one
    if call.name in QUICK and "mode=" not in text:
        words += [*QUICK[call.name].split()]
        shutil.rmtree(folder / FOLDERS[call.name], ignore_errors=True)
        (folder / FOLDERS[call.name]).unlink(missing_ok=True)
        words.append(f"hydra.run.dir='{FOLDERS[call.name]}'")
    pages.run(call.name, words)
    assert out is None or list(folder.glob(f"{Path(out).stem}*"))


def run_block(block: Block, folder: Path, names: dict[str, Any]) -> None:
    if block.language == "python":
        pages_home.given(folder, re.findall(r'"([^"]+)"', block.code))
        exec(compile(block.code, "page", "exec"), names)
        return
    assert block.language in ("", "bash"), f"{block.language}: neither run nor with a reason why not"
    for words in lines(block.code):
        execute(called(words), folder)


def trained(names: dict[str, Any]) -> None:
    """What the README's training from Python has found."""
    assert names["mine"] == dnamamba.GenomeConfig(fasta="my.fa.gz", max_length=1024)
    assert [step for step, _ in names["losses"]] == [0, 1]
    assert names["result"].results["verdict"].startswith("test: the model needs ")
    assert set(names["tuned"].results["test"]["accuracy"]) == {"value", "low", "high"}


def embedded(names: dict[str, Any]) -> None:
    assert names["vectors"].shape == (2, 16)
    assert len(names["genes"]) == len(names["regions"]) == 24
    assert names["bins"].shape == (50, 16)
    assert names["every_base"].shape == (12, 16)
    assert names["joined"].shape == (1, 8 * 16)


def generated(names: dict[str, Any]) -> None:
    assert [len(sequence) for sequence in names["sequences"]] == [1000] * 4


def scored(names: dict[str, Any]) -> None:
    assert names["effects"].llr.shape == names["effects"].distance.shape == (2,)
    assert (names["effects"].distance > 0).all()


def tracked(names: dict[str, Any]) -> None:
    assert names["track"].log_likelihood.shape == names["track"].entropy.shape == (30_000,)
    assert (names["track"].entropy[100:] <= 3).all()


def predicted(names: dict[str, Any]) -> None:
    assert names["found"].labels == ("leaf", "root")
    assert names["found"].values.shape[0] == 2


def attributed(names: dict[str, Any]) -> None:
    assert names["found"].contribution.shape == (101,)
    assert names["found"].values.shape == (101, 4)


def read_on(names: dict[str, Any]) -> None:
    assert names["logits"].shape == names["more"].shape == (1, 12, 8)
    assert not torch.equal(names["logits"], names["more"])  # the second reads on from the first


def read_by_pieces(names: dict[str, Any]) -> None:
    torch.testing.assert_close(names["same"], names["probabilities"], rtol=1e-5, atol=1e-6)


# What the Python of a page leaves, as its comments say.
FOUND = {
    "README.md": trained,
    "docs/attribution.md": attributed,
    "docs/embeddings.md": embedded,
    "docs/finetuning.md": read_by_pieces,
    "docs/generation.md": generated,
    "docs/prediction.md": predicted,
    "docs/pretraining.md": read_on,
    "docs/tracks.md": tracked,
    "docs/variants.md": scored,
}


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)])
def test_blocks_of_a_page_run(page: str, folder: Path, quick: None) -> None:
    names: dict[str, Any] = {"__name__": "page"}
    for block in blocks(page):
        if block.language in pages.NO_CODE or block.reason is not None:
            continue
        if block.language == "python" and page in ELSEWHERE:
            continue
        try:
            run_block(block, folder, names)
        except BaseException as error:
            error.add_note(f"{page}, line {block.line}")
            raise
    FOUND.get(page, lambda names: None)(names)


def test_commands_within_the_text_of_pages_are_accepted() -> None:
    for page in PAGES:
        for words in inline(page):
            try:
                read(called(words))
            except BaseException as error:
                error.add_note(page)
                raise


def test_commands_on_lines_of_their_own_are_blocks() -> None:
    """A line that has lost its indentation would be read as prose, and not be looked at here."""
    for page in PAGES:
        for token in MarkdownIt("commonmark").parse((pages.ROOT / page).read_text("utf-8")):
            if token.type == "inline":
                wrong = re.findall(
                    r"^(?:python -m|dnamamba [a-z]+ \w+=|torchrun|srun) .*", token.content, re.MULTILINE
                )
                assert not wrong, (page, wrong)


def test_reasons_name_tests_that_exist() -> None:
    found = [(page, block.reason) for page in PAGES for block in blocks(page) if block.reason is not None]
    assert len(found) > 5
    for page, reason in found:
        assert len(reason.split()) > 3, page
        for path in re.findall(r"tests/\S+\.py", reason):
            assert (pages.ROOT / path).is_file(), path
    for name in ELSEWHERE.values():
        assert (pages.ROOT / "tests" / name).is_file()


def test_wrong_lines_of_pages_are_noticed() -> None:
    for line in (
        "dnamamba embedd model=RUN",
        "dnamamba embed model=RUN fast=my.fa",
        "python -m dnamamba.pretrain experiment=nope",
        "python benchmarks/chunks.py --part 1 --graphs=3",
        "python benchmarks/absent.py",
        "brew install dnamamba",
    ):
        (words,) = lines(line)
        with pytest.raises((Exception, SystemExit)):
            read(called(words))
