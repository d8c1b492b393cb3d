"""Plans: the numbers of the paper, and what cannot be planned."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig
from rich.console import Console

from dnamamba import MambaConfig, UserError
from dnamamba.commands.experiments import experiment_names
from dnamamba.commands.plan import plan_pretraining, print_plan
from dnamamba.config import composed
from dnamamba.data.length_schedule import Stage
from dnamamba.planning.cost import DEVICES, GIB
from dnamamba.planning.plan import Plan, plan
from dnamamba.planning.show import duration, show_plan
from dnamamba.training.config import TrainConfig
from tests import processes

Configure = Callable[..., DictConfig]
MODELS = {
    "1.4M": MambaConfig(128, 12),
    "7M": MambaConfig(256, 16),
    "40.7M": MambaConfig(512, 24),
}


@pytest.fixture
def planned() -> Configure:
    """Compose conf/plan.yaml with overrides, for an H200."""
    return lambda *overrides: composed("plan", ["plan.device=h200", *overrides])


def test_auto_takes_the_largest_chunk_that_fits() -> None:
    """Whole steps of 2^22 bases fit an H100, as measured; those of 2^23 do not."""

    def of(length: int) -> Plan:
        return plan(
            [Stage(0, length, 2, 0, 100)],
            MODELS["1.4M"],
            bases_at_a_time=length,
            train=TrainConfig(chunk_bases="auto"),
            device=DEVICES["h100"],
        )

    assert of(2**22).chunk_bases is None
    longer = of(2**25)
    assert longer.chunk_bases == 2**22
    assert longer.memory_gib is not None
    assert longer.memory_gib < 0.9 * DEVICES["h100"].memory_gib
    console = Console(record=True, width=200)
    show_plan(longer, console)
    assert "read by chunks of 4,194,304 bases" in console.export_text()


def test_shorter_stages_hold_no_more_than_a_chunk() -> None:
    """A length warmup whose first stage would fill a whole sequence's memory."""
    stages = [Stage(0, 2**10, 2**10, 0, 10), Stage(1, 2**20, 1, 10, 20)]
    made = plan(
        stages,
        MODELS["1.4M"],
        bases_at_a_time=2**20,
        train=TrainConfig(chunk_bases=2**16),
        device=DEVICES["h100"],
    )
    assert [(stage.micro_batch, stage.micro_batches) for stage in made.stages] == [(64, 16), (1, 1)]
    first, last = (stage.memory_gib for stage in made.stages)
    assert first == pytest.approx(last, rel=0.01)


def test_a_chunk_longer_than_every_stage_is_refused() -> None:
    with pytest.raises(UserError, match=r"train\.chunk_bases: .*\(got 2,048\); set at most 1024"):
        plan(
            [Stage(0, 2**10, 4, 0, 10)],
            MODELS["1.4M"],
            bases_at_a_time=2**12,
            train=TrainConfig(chunk_bases=2**11),
        )


def test_the_longest_context_of_the_paper(planned: Configure) -> None:
    made = plan_pretraining(planned("experiment=hg38/context_2p20_1m4"))
    assert (made.steps, made.bases, made.parameters) == (19_137, 321_065_582_592, 1_400_448)
    assert f"{made.bases / 1e9:.0f} G" == "321 G"
    assert [stage.length for stage in made.stages] == [2**power for power in range(10, 21)]
    assert {stage.bases_per_step for stage in made.stages} == {2**24}
    assert {stage.micro_batch * stage.length for stage in made.stages} == {2**20}
    assert made.stages[-1].steps == 8505
    assert made.device == "h200"


def test_a_plan_for_the_cpu_names_it(capsys: pytest.CaptureFixture[str]) -> None:
    cfg = composed("plan", ["model=paper_1m4", "data.max_length=1024"])
    made = plan_pretraining(cfg)
    # float32, nothing fused: 27.5 bytes of each of 12 blocks and 50 more, times 256 channels.
    bases = 16 * 1024
    expected = 16 * made.parameters + bases * (256 * (27.5 * 12 + 50) + 3)
    assert made.memory_gib == pytest.approx(expected / GIB)
    assert (made.device, made.seconds) == ("CPU", None)
    print_plan(cfg)
    assert "estimated on 1 x CPU: 1.5 GiB each, time not measured" in capsys.readouterr().out
    assert plan_pretraining(composed("plan", ["plan.device=h200"])).device == "h200"


@pytest.mark.parametrize("name", experiment_names("plan"))
def test_every_experiment_can_be_planned(planned: Configure, name: str, tmp_path: Path) -> None:
    index = tmp_path / "hg38.fa.fai"
    names = [*(f"chr{number}" for number in range(1, 23)), "chrX"]
    lengths = dict.fromkeys(names, 10**8) | {"chr1": 248_956_422}
    rows = (f"{chromosome}\t{length}\t6\t60\t61\n" for chromosome, length in lengths.items())
    index.write_text("".join(rows))
    fasta = [f"data.fasta={index.with_suffix('')}"] if name == "hg38/chromosomes_1m4" else []
    cfg = planned(f"experiment={name}", *fasta)
    made = plan_pretraining(cfg)
    steps = [stage.steps for stage in made.stages]
    assert sum(steps) == made.steps > 0
    if cfg.train.max_steps is not None:
        assert made.steps == cfg.train.max_steps
    longest = 248_956_421 if name == "hg38/chromosomes_1m4" else 1_531_932  # chr1; chrIV of yeast
    assert made.stages[-1].length == (longest if cfg.data.max_length == "chromosome" else cfg.data.max_length)
    if cfg.model.get("family", "mamba") == "mamba":
        assert made.seconds is not None
        assert made.seconds > 0
    else:  # whose time nobody has measured
        assert made.seconds is None


def test_accumulation_takes_time_and_little_memory() -> None:
    def of(accumulate: int, processes: int) -> tuple[float, float]:
        stage = Stage(0, 2**14, 64 * accumulate * processes, 0, 10)
        made = plan(
            [stage], MODELS["1.4M"], bases_at_a_time=2**20, processes=processes, device=DEVICES["h200"]
        )
        assert (made.stages[0].micro_batch, made.stages[0].micro_batches) == (64, accumulate)
        assert made.seconds is not None
        return made.seconds, made.memory_gib

    (once, small), (four_times, same), shared = of(1, 1), of(4, 1), of(1, 4)
    assert four_times == pytest.approx(4 * once)
    assert small < same < small + 0.1
    assert shared == (once, small)


def test_stages_of_equally_many_sequences_can_be_planned() -> None:
    """Fine-tuning: 64 sequences at every length."""
    stages = [Stage(0, 2**14, 64, 0, 1024), Stage(1, 2**15, 64, 1024, 2048)]
    made = plan(stages, MODELS["7M"], bases_at_a_time=2**17, device=DEVICES["h200"])
    assert [(stage.micro_batch, stage.micro_batches) for stage in made.stages] == [(8, 8), (4, 16)]
    assert made.bases == 64 * 1024 * (2**14 + 2**15)
    first, second = (stage.seconds for stage in made.stages)
    assert first is not None
    assert second == pytest.approx(2 * first, rel=1e-6)


def test_the_same_as_json(planned: Configure, capsys: pytest.CaptureFixture[str]) -> None:
    cfg = planned("experiment=hg38/context_2p20_1m4", "plan.json=true")
    print_plan(cfg)
    document = json.loads(capsys.readouterr().out)
    assert (document["steps"], document["bases"]) == (19_137, 321_065_582_592)
    assert document["stages"][0]["sequences_per_step"] == 16_384
    assert document["seconds"] == pytest.approx(plan_pretraining(cfg).seconds)


def test_segments_of_an_interval_file(
    planned: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = (
        "data=hg38",
        "data.max_length=131072",
        "data.batch_size=1",
        "train.global_batch_size=4",
        "train.max_steps=null",
        "data.length_warmup.epochs=1",
    )
    assert plan_pretraining(planned(*settings, "plan.training_segments=400")).steps == 100
    bed = tmp_path / "own.bed"
    train = [f"chr1\t{131072 * place}\t{131072 * (place + 1)}\ttrain\n" for place in range(40)]
    bed.write_text("".join(train) + "chr2\t0\t1000\tvalid\nchr3\t0\t1000\ttest\n")
    assert plan_pretraining(planned(*settings, f"data.intervals={bed}")).steps == 10
    for other in (f"data.intervals={bed}", "data=genome"):
        with pytest.raises(UserError, match=r"plan.training_segments: has no effect .*got 400"):
            plan_pretraining(planned(*settings, other, "plan.training_segments=400"))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert plan_pretraining(planned(*settings, "data.intervals='~/own.bed'")).steps == 10


def test_an_epoch_of_a_genome_needs_it_or_its_index(planned: Configure, tmp_path: Path) -> None:
    fasta, index = tmp_path / "g.fa", tmp_path / "g.fa.fai"
    settings = (f"data.fasta={fasta}", "train.max_steps=null", "data.length_warmup.epochs=2")
    with pytest.raises(UserError, match=r"g.fa.fai is not there.*samtools faidx .*data.length_warmup.steps"):
        plan_pretraining(planned(*settings))
    fasta.write_text(
        f">one\n{'A' * 8_192}\n>two\n{'C' * 500}\n>three\n{'G' * 500}\n"
    )  # is read where it has none
    assert plan_pretraining(planned(*settings, "data.valid=[two]", "data.test=[three]")).steps == 2
    fasta.unlink()
    rows = (("one", 819_200), ("two", 50_000), ("three", 50_000))
    index.write_text("".join(f"{name}\t{length}\t5\t60\t61\n" for name, length in rows))
    # Two records of 5 % are held out; 819,200 training bases, 16 windows of 512 a step.
    assert plan_pretraining(planned(*settings, "data.valid=[two]", "data.test=[three]")).steps == 200
    index.write_text("one\n")
    with pytest.raises(UserError, match=r"g\.fa\.fai is not a FASTA index"):
        plan_pretraining(planned(*settings))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("plan.device=abacus", r"plan.device: must be one that was measured, h100 or h200 \(got 'abacus'\)"),
        (
            "trainer.devices=auto",
            r"trainer.devices: must be a number of at least 1 to plan with \(got 'auto'\)",
        ),
        (
            "trainer.num_nodes=abc",
            r"trainer.num_nodes: must be a number of at least 1 to plan with \(got 'abc'\)",
        ),
        ("trainer.num_nodes=0", r"trainer.num_nodes: must be a number of at least 1 to plan with \(got 0\)"),
        ("train.global_batch_size=24", r"train.global_batch_size=24 is not a multiple of data.batch_size=16"),
        ("train.max_steps=null", "how long does a stage last"),
    ],
)
def test_what_cannot_be_planned(planned: Configure, override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        plan_pretraining(planned(override))


def test_durations_are_short_to_read() -> None:
    assert [duration(seconds) for seconds in (5, 600, 10_800, 864_000, None)] == [
        "5 s",
        "10 min",
        "3.0 h",
        "10.0 days",
        "not measured",
    ]


def test_the_command_prints_a_table_and_leaves_nothing(tmp_path: Path) -> None:
    given = ("experiment=hg38/context_2p20_1m4", "plan.device=h200")
    done = processes.run("dnamamba.plan", *given, "hydra.run.dir=run", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "19,137 steps, 321.1 G bases (321,065,582,592)" in done.stdout
    assert "1,048,576" in done.stdout
    assert done.stderr == ""
    assert not list(tmp_path.iterdir())


def test_eight_gpus_take_an_eighth_of_bases_each(planned: Configure) -> None:
    length = ("data.max_length=33554432", "data.batch_size=1", "train.global_batch_size=1", "model=paper_1m4")
    spread = plan_pretraining(planned("trainer=context", "trainer.devices=8", *length))
    part = plan_pretraining(planned("trainer=gpu", "data.max_length=4194304", *length[1:]))
    assert (spread.processes, spread.context_size) == (8, 8)
    (stage,) = spread.stages
    assert (stage.sequences_per_step, stage.micro_batch, stage.micro_batches) == (1, 1, 1)
    assert spread.bases == 8 * part.bases
    assert spread.seconds == part.seconds
    assert spread.memory_gib == pytest.approx(part.memory_gib, rel=0.005)  # and all of its tokens
    chunk = ("train.chunk_bases=262144", "train.chunk_graphs=false")
    spread = plan_pretraining(planned("trainer=context", "trainer.devices=8", *length, *chunk))
    part = plan_pretraining(planned("trainer=gpu", "data.max_length=4194304", *length[1:], *chunk))
    assert spread.chunk_bases == 2**18
    assert spread.seconds > part.seconds  # each block waits for the others' states
    assert spread.memory_gib == pytest.approx(part.memory_gib, rel=0.03)  # and 8 times as many tokens
    assert spread.memory_gib < 4.2


def test_plan_refuses_windows_that_do_not_go_round(planned: Configure) -> None:
    with pytest.raises(
        UserError, match=r"^trainer.context_size: 8 processes can't share .* \(got 1,025 bases\)"
    ):
        plan_pretraining(planned("trainer=context", "trainer.devices=8", "data.max_length=1025"))
