"""`python -m dnamamba.pretrain` as typed: exit codes, one line a mistake, kills and resumes, the wheel."""

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from tests import processes
from tests.conftest import TINY

ROOT = Path(__file__).parent.parent
RUNS = Path("logs/pretrain/runs")


def run(folder: Path, *overrides: str) -> "subprocess.CompletedProcess[str]":
    return processes.run("dnamamba.pretrain", *overrides, folder=folder)


def run_anew(folder: Path, *overrides: str) -> "subprocess.CompletedProcess[str]":
    """As `run`, by a Python that has loaded nothing."""
    return subprocess.run(
        [sys.executable, "-m", "dnamamba.pretrain", *overrides], cwd=folder, capture_output=True, text=True
    )


def own(genome: Path) -> tuple[str, ...]:
    return (*TINY, f"data.fasta={genome}", "data.valid=[two]", "data.test=[three]")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty working directory, away from the checkout."""
    path = tmp_path / "work"
    path.mkdir()
    return path


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("data.fast=x.fa",), "; did you mean data.fasta?"),
        (("train.max_step=5",), "; did you mean train.max_steps?"),
        (("colour=blue",), "error: colour: no such setting; --help lists the settings\n"),
        (("model=huge",), "error: model=huge: no such choice; choose ablation, caduceus_ph, "),
        (("experiment=hg38/nope",), "hg38/size_1m4"),
        (("data.fasta=absent.fa",), "absent.fa"),
        (("data.max_length=many",), "data.max_length"),
        (("train.max_steps=",), "train.max_steps"),
        (("data.max_length=${nothing}",), "nothing"),
        (
            ("hydra.run.dir=/dev/null/run",),
            "error: hydra.run.dir=/dev/null/run: can't be made (Not a directory); choose another folder\n",
        ),
        (("trainer=null",), "trainer: is empty; give a value or leave the key out"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    folder: Path, overrides: Sequence[str], message: str
) -> None:
    done = run(folder, *overrides)
    assert done.returncode == 1
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("dnamamba: error: ")
    assert message in done.stderr
    assert not [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("body", "ended"),
    [
        # As between a run's last score and its end, where its status would say that the job had failed.
        ("signal.raise_signal(signal.SIGUSR1); print('done')", (0, "done\n", "")),
        # Of a library that nobody expected one of: in one line, without Hydra's own.
        ("open('none/a.tsv')", (1, "", "dnamamba: error: none/a.tsv: No such file or directory\n")),
    ],
)
def test_a_command_ends_as_it_should(folder: Path, body: str, ended: tuple[int, str, str]) -> None:
    program = (
        "import signal\nfrom dnamamba.config import command\n"
        f"def run(cfg):\n    {body}\ncommand(run, 'pretrain')\n"
    )
    done = processes.run("-c", program, folder=folder)
    assert (done.returncode, done.stdout, done.stderr) == ended


def test_run_from_any_folder_ends_with_its_paths(folder: Path, genome: Path) -> None:
    done = run_anew(folder, *own(genome))
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    (made,) = (folder / RUNS).iterdir()
    for name in ("checkpoints/last.ckpt", "model", "metrics.csv", "results.json", "learning_curve.png"):
        assert str(made / name) in done.stdout


def test_a_sweep_makes_a_folder_a_job(folder: Path, genome: Path) -> None:
    swept = "train.learning_rate=1e-3,4e-2"
    done = run(folder, "--multirun", *own(genome), "train.max_steps=1", "train.seed=0", swept)
    assert done.returncode == 0, done.stderr
    (sweep,) = (folder / "logs/pretrain/multiruns").iterdir()
    found = {
        path.parent.name: json.loads(path.read_text())["bits_per_base"]["valid"]
        for path in sweep.glob("*/results.json")
    }
    best, worst = sorted(found, key=found.__getitem__)
    assert {best, worst} == {"0", "1"}
    rates = {"0": "0.001", "1": "0.04"}
    assert (sweep / "sweep.tsv").read_text().splitlines() == [
        "rank\tjob\ttrain.learning_rate\tbits_per_base\tfolder",
        f"1\t{best}\t{rates[best]}\t{found[best]!r}\t{best}",
        f"2\t{worst}\t{rates[worst]}\t{found[worst]!r}\t{worst}",
    ]
    assert (sweep / "sweep.png").stat().st_size > 5000
    assert "bits_per_base on validation (lower is better)" in done.stdout


def test_mistake_in_sweep_ends_its_job_only(folder: Path, genome: Path) -> None:
    done = run(folder, "--multirun", *own(genome), "train.max_steps=1", "train.seed=-1,1")
    assert done.returncode == 1
    assert done.stderr == "dnamamba: error: train.seed: must lie between 0 and 4294967295 (got -1)\n"
    (sweep,) = (folder / "logs/pretrain/multiruns").iterdir()
    assert [path.parent.name for path in sweep.glob("*/results.json")] == ["1"]
    header, row = (sweep / "sweep.tsv").read_text().splitlines()
    assert header.split("\t")[:3] == ["rank", "job", "train.seed"]
    assert row.split("\t")[:3] == ["1", "1", "1"]


def test_a_mistake_leaves_what_was_in_the_folder(folder: Path) -> None:
    (folder / "mine").mkdir()
    (folder / "mine" / "config.yaml").write_text("keep: me\n")
    os.utime(folder / "mine" / "config.yaml", (1e9, 1e9))
    assert run(folder, "data.fasta=absent.fa", "hydra.run.dir=mine").returncode == 1
    assert (folder / "mine" / "config.yaml").read_text() == "keep: me\n"


def test_own_configuration_files(folder: Path) -> None:
    (folder / "mine" / "experiment").mkdir(parents=True)
    (folder / "mine" / "experiment" / "short.yaml").write_text(
        "# @package _global_\ndata:\n  max_length: 77\n"
    )
    done = run(folder, "--config-dir", "mine", "experiment=short", "--cfg", "job", "--package", "data")
    assert done.returncode == 0, done.stderr
    assert "max_length: 77" in done.stdout


def weights(folder: Path) -> dict[str, torch.Tensor]:
    checkpoint = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    return checkpoint["state_dict"]


def wait_for_step(process: "processes.Command | subprocess.Popen[str]", folder: Path, step: int) -> None:
    """Until the run in `folder` has a checkpoint of this step or a later one."""
    path, deadline, seen = folder / "checkpoints" / "last.ckpt", time.monotonic() + 120, 0
    while time.monotonic() < deadline and process.poll() is None:
        # Each checkpoint is read once: reading takes the core that the run needs.
        if path.is_file() and (made := path.stat().st_mtime_ns) != seen:
            seen = made
            if torch.load(path, weights_only=True)["global_step"] >= step:
                return
        time.sleep(0.02)
    pytest.fail(f"no checkpoint of step {step}; the run ended with {process.poll()}")


def stop(folder: Path, number: signal.Signals, step: int, end: int, *overrides: str) -> str:
    """Begin a run of `end` steps in `folder`, send a signal after `step`; what it says on standard error."""
    process = processes.Command(
        "dnamamba.pretrain", *overrides, f"hydra.run.dir={folder}", "ckpt_path=auto", folder=folder.parent
    )
    wait_for_step(process, folder, step)
    process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == (-number if number == signal.SIGKILL else 128 + number), errors
    reached = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
    assert step <= reached < end
    return errors


def resume(folder: Path, uninterrupted: Path, *overrides: str) -> None:
    """The same command again ends with the weights of the run that was not stopped, bit for bit."""
    done = run(folder.parent, *overrides, f"hydra.run.dir={folder}", "ckpt_path=auto")
    assert done.returncode == 0, done.stderr
    expected, found = weights(uninterrupted), weights(folder)
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


@pytest.fixture(scope="module")
def long_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[tuple[str, ...], Path]:
    """Overrides of a run of 120 steps of two micro-batches, and its folder when nothing interrupts it."""
    base = tmp_path_factory.mktemp("uninterrupted")
    letters = torch.randint(0, 4, (5_000,), generator=torch.Generator().manual_seed(5))
    text = "".join("ACGT"[letter] for letter in letters.tolist())
    genome = base / "genome.fa"
    genome.write_text(f">one\n{text[:3000]}\n>two\n{text[3000:4000]}\n>three\n{text[4000:]}\n")
    overrides = (*own(genome), "train.max_steps=120", "train.validate_every=36", "train.checkpoint_every=3")
    done = run(base, *overrides, "hydra.run.dir=run")
    assert done.returncode == 0, done.stderr
    return overrides, base / "run"


@pytest.mark.parametrize(
    ("number", "step", "workers"), [(signal.SIGKILL, 25, 0), (signal.SIGTERM, 55, 0), (signal.SIGINT, 73, 2)]
)
def test_stopped_and_resumed_equals_uninterrupted(
    long_run: tuple[tuple[str, ...], Path], folder: Path, number: signal.Signals, step: int, workers: int
) -> None:
    overrides, uninterrupted = long_run
    first = folder / RUNS / "first"
    process = processes.Command(
        "dnamamba.pretrain",
        *overrides,
        f"hydra.run.dir={first}",
        f"data.num_workers={workers}",
        folder=folder,
        new_session=True,
    )
    wait_for_step(process, first, step)
    os.killpg(process.pid, number)  # as a terminal does: loader workers get it too
    _, errors = process.communicate(timeout=120)
    if number == signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
    else:
        assert process.returncode == 128 + number
        assert errors.startswith(f"dnamamba: stopped by {number.name} after step")
        assert len(errors.strip().splitlines()) == 1
    assert not (first / "results.json").exists()
    reached = torch.load(first / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
    assert step <= reached < 120

    done = run(folder, *overrides, "ckpt_path=last", f"hydra.run.dir={folder / RUNS / 'second'}")
    assert done.returncode == 0, done.stderr
    expected, found = weights(uninterrupted), weights(folder / RUNS / "second")
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name
    # The curve resumes where it stopped: every step once.
    lines = (folder / RUNS / "second" / "metrics.csv").read_text().splitlines()
    header = lines[0].split(",")
    rows = [dict(zip(header, line.split(","), strict=True)) for line in lines[1:]]
    assert [int(row["step"]) for row in rows if row["train/loss"]] == list(range(120))


def test_the_wheel_has_all_it_needs(tmp_path: Path, folder: Path) -> None:
    """Built, unpacked far from the checkout and run from a third folder."""
    built = tmp_path / "built"
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(built)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "installed")
    assert {str(path.relative_to(ROOT)) for path in (ROOT / "dnamamba").rglob("*.py")} <= {*names}
    assert "dnamamba/conf/pretrain.yaml" in names
    assert "dnamamba/conf/finetune.yaml" in names
    assert "dnamamba/data/yeast/S288C.fa.gz" in names
    assert "dnamamba/data/yeast/model/model.safetensors" in names
    assert "dnamamba/py.typed" in names
    assert "data_prep/sources.toml" in names
    assert not [name for name in names if name.startswith(("tests", "conf"))]
    path = str(tmp_path / "installed")
    overrides = ("train.max_steps=1", "data.max_length=64", "data.batch_size=2", "train.global_batch_size=2")
    small = ("data.valid=[]", "data.test=[]", "model.n_layer=1", "data.markov_orders=[]")
    program = (
        "import sys, data_prep, dnamamba, dnamamba.config as c\n"
        "print(dnamamba.__file__, c.conf_dir(), data_prep.__file__, file=sys.stderr)\n"
        "from dnamamba.kernels import use\n"
        "from dnamamba.pretrain import main\n"
        "with use('chunked'): main()"  # the compiler would take 6 s in a new place
    )
    done = processes.run("-c", program, *overrides, *small, folder=folder, environment={"PYTHONPATH": path})
    assert done.returncode == 0, done.stderr
    found = done.stderr.split()
    assert len(found) == 3
    assert all(each.startswith(path) for each in found), found
    listed = processes.run(
        "data_prep.download", "hg38_ucsc", "--list", folder=folder, environment={"PYTHONPATH": path}
    )
    assert "size      983,659,424 bytes" in listed.stdout


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        (["a=1", "--multirun", "b=1,2"], ["a=1", "b=1,2", "--multirun"]),
        (["--config-dir", "x", "a=1"], ["a=1", "--config-dir", "x"]),
        (["--info", "a=1"], ["a=1", "--info"]),
        (["--info", "defaults", "a=1"], ["a=1", "--info", "defaults"]),
    ],
)
def test_overrides_may_stand_on_both_sides_of_flag(typed: list[str], read: list[str]) -> None:
    from dnamamba.commands.entry import overrides_first

    assert overrides_first(typed) == read


def test_processes_of_the_dnamamba_script_start_as_module(monkeypatch: pytest.MonkeyPatch) -> None:
    import dnamamba.info
    from dnamamba.commands import entry

    main = type(sys)("__main__")
    monkeypatch.setitem(sys.modules, "__main__", main)
    monkeypatch.setattr(sys, "argv", ["dnamamba", "info", "a=1"])
    monkeypatch.setattr(dnamamba.info, "main", lambda: None)
    entry.main()
    assert main.__spec__ is not None
    assert (main.__spec__.name, sys.argv) == ("dnamamba.info", ["dnamamba", "a=1"])


def test_dnamamba_refuses_unknown_command_with_nearest_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from dnamamba.commands import entry

    monkeypatch.setattr(sys, "argv", ["dnamamba", "pretain"])
    with pytest.raises(SystemExit, match="1"):
        entry.main()
    assert capsys.readouterr().err == "dnamamba: error: no command 'pretain'; did you mean pretrain?\n"
