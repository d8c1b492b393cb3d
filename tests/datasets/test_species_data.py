from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from data_prep.simulate_apes import simulate
from dnamamba.config import conf_dir, typed
from dnamamba.data.length_schedule import sequence_schedule
from dnamamba.datasets.species.config import SpeciesConfig
from dnamamba.datasets.species.data import SpeciesData
from dnamamba.errors import UserError
from dnamamba.training.optim import Schedule

SPECIES = ("human", "chimpanzee", "gorilla", "orangutan", "bonobo")


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """Five simulated apes, ten records of 3,000 bases each."""
    folder = tmp_path_factory.mktemp("apes")
    root = folder / "root.fa"
    letters = np.random.default_rng(0).choice(np.frombuffer(b"ACGT", dtype=np.uint8), 30_000)
    root.write_text(f">root\n{letters.tobytes().decode()}\n")
    return {name: str(path) for name, path in simulate(folder, fasta=root, size=30_000).items()}


def config_of(simulated, **changes):
    """conf/data/species.yaml with simulated genomes, small windows and changes."""
    own = {
        "species": simulated,
        "alphabet": "dna",
        "split": "record",
        "valid": ["chr9"],
        "test": ["chr10", "chr4"],
        "max_length": 64,
        "batch_size": 2,
        "valid_windows": 20,
        "test_windows": 55,
        "length_warmup": {"first_length": 16, "steps": 3},
    }
    group = OmegaConf.load(conf_dir() / "data" / "species.yaml")
    group.pop("_target_")
    return typed(OmegaConf.merge(group, own | changes), SpeciesConfig, "data")


def data_of(config, seed=1, step=0, rank=0, world_size=1, batch=4, max_steps=12):
    data = SpeciesData(config, seed, global_batch_size=batch, max_steps=max_steps, world_size=world_size)
    cpu = SimpleNamespace(root_device=torch.device("cpu"))
    data.trainer = SimpleNamespace(global_step=step, global_rank=rank, world_size=world_size, strategy=cpu)
    return data


def steps_of(data, number):
    return list(islice(data.train_dataloader(), number))


def test_the_paper_s_stages_and_learning_rate():
    # Appendix E.3.4: to 2^20 six epochs at 2^14 ... 2^19 and four at 2^20, always 64 sequences per step.
    schedule = sequence_schedule([2**k for k in range(14, 21)], sequences=64, steps=1024, max_steps=10_240)
    found = [(stage.length, stage.first_step, stage.end_step) for stage in schedule.stages]
    assert found == [(2 ** (14 + i), 1024 * i, 1024 * (i + 1)) for i in range(6)] + [(2**20, 6144, 10_240)]
    assert {stage.sequences for stage in schedule.stages} == {64}
    rate = Schedule(10_240, 1e-4, 1e-6, 0.5)
    assert rate(5119) == rate(5120) == 1e-4
    assert rate(0) == pytest.approx(1e-4 / 5120)
    assert rate(10_239) == pytest.approx(1e-6)


def test_stages_beyond_the_end_are_left_out():
    assert [
        (stage.length, stage.steps)
        for stage in sequence_schedule([2, 4, 8], sequences=1, steps=5, max_steps=7).stages
    ] == [(2, 5), (4, 2)]


def test_every_stage_may_have_steps_of_its_own():
    schedule = sequence_schedule([2, 4, 8], sequences=1, steps=[5, 1], max_steps=9)
    assert [(stage.length, stage.steps) for stage in schedule.stages] == [(2, 5), (4, 1), (8, 3)]
    with pytest.raises(UserError, match=r"each of the 2 lengths before the last, .* there are 3 numbers"):
        sequence_schedule([2, 4, 8], sequences=1, steps=[5, 1, 3], max_steps=9)
    with pytest.raises(UserError, match=r"more than 0 \(got 0\)"):
        sequence_schedule([2, 4], sequences=1, steps=[0], max_steps=9)


def test_a_list_of_steps_in_the_configuration(simulated):
    numbers = {"global_batch_size": 4, "max_steps": 12, "world_size": 1}
    config = config_of(simulated, length_warmup={"first_length": 16, "steps": [3, 2]})
    stages = config.schedule(**numbers).stages
    assert [(stage.length, stage.steps) for stage in stages] == [(16, 3), (32, 2), (64, 7)]
    alone = config_of(simulated, length_warmup={"first_length": None, "steps": [3, 2]})
    assert [(stage.length, stage.steps) for stage in alone.schedule(**numbers).stages] == [(64, 12)]
    short = config_of(simulated, length_warmup={"first_length": 16, "steps": [3]})
    with pytest.raises(
        UserError, match=r"^data.length_warmup, train.max_steps: a list of steps has a number"
    ):
        short.schedule(**numbers)
    with pytest.raises(UserError, match=r"a whole number above 0 or a list of them \(got 'x'\)"):
        config_of(simulated, length_warmup={"first_length": 16, "steps": [3, "x"]})


def test_as_many_sequences_at_every_length(simulated):
    data = data_of(config_of(simulated))
    shapes = [tuple(batch["tokens"].shape) for batch in steps_of(data, 12)]
    assert shapes == [(4, 16)] * 3 + [(4, 32)] * 3 + [(4, 64)] * 6
    for batch in steps_of(data, 7):
        width = batch["tokens"].shape[1]
        assert data.micro_batch(batch) * width == 2 * 64


def test_stream_from_mid_stage_is_rest_of_whole(simulated):
    whole = steps_of(data_of(config_of(simulated)), 12)
    for step in (2, 4, 9):
        rest = steps_of(data_of(config_of(simulated), step=step), 12 - step)
        for one, other in zip(whole[step:], rest, strict=True):
            assert one.keys() == other.keys() == {"tokens", "labels", "index"}
            assert all(torch.equal(one[key], other[key]) for key in one)


def test_two_ranks_read_what_one_would(simulated):
    whole = steps_of(data_of(config_of(simulated)), 8)
    parts = [steps_of(data_of(config_of(simulated), rank=rank, world_size=2), 8) for rank in (0, 1)]
    for one, first, second in zip(whole, *parts, strict=True):
        assert all(torch.equal(one[key], torch.cat([first[key], second[key]])) for key in one)


def test_workers_change_nothing(simulated):
    alone = steps_of(data_of(config_of(simulated)), 7)
    together = steps_of(data_of(config_of(simulated, num_workers=2)), 7)
    for one, other in zip(alone, together, strict=True):
        assert all(torch.equal(one[key], other[key]) for key in one)


def test_labels_are_species_that_tokens_are_from(simulated):
    data = data_of(config_of(simulated))
    for step, batch in enumerate(steps_of(data, 8)):
        regions = data.describe(step, batch["index"].numpy())
        for row, label, region in zip(batch["tokens"], batch["labels"], regions, strict=True):
            species, record, place = region.removesuffix("(+)").split(":")
            assert species == data.config.labels[label]
            assert record.partition("|")[2] not in ("chr4", "chr9", "chr10")
            start, end = map(int, place.split("-"))
            assert np.array_equal(row.numpy(), data.genomes.fetch(f"{species}:{record}", start, end))


def test_fixed_sets_are_balanced_and_equal_for_seeds(simulated):
    found = {}
    for seed in (1, 2):
        data = data_of(config_of(simulated), seed=seed)
        for split, number, records in (("valid", 20, {"chr9"}), ("test", 55, {"chr10", "chr4"})):
            batches = list(dict(data.held_out_loaders())[split])
            index = torch.cat([batch["index"] for batch in batches])
            labels = torch.cat([batch["labels"] for batch in batches])
            assert torch.equal(torch.bincount(labels), torch.full((5,), number // 5))
            names = data.names(split, index.numpy())
            assert {name.split(":")[1].partition("|")[2] for name in names} == records
            assert [name.split(":")[0] for name in names] == [SPECIES[label] for label in labels]
            found.setdefault(split, []).append(torch.cat([batch["tokens"] for batch in batches]))
    assert all(torch.equal(one, other) for one, other in found.values())
    for one, other in zip(
        *(steps_of(data_of(config_of(simulated), seed=seed), 2) for seed in (1, 2)), strict=True
    ):
        assert not torch.equal(one["tokens"], other["tokens"])


def test_what_a_run_is_told(simulated):
    data = data_of(config_of(simulated))
    assert data.summary == ("windows of 64 bases; loci that all 5 species have: train 7, valid 1, test 2")
    assert data.notes[0].startswith("train: 7 loci are long enough, ")
    assert data.stages == "steps at each length: 16: 3, 32: 3, 64: 6"
    assert data.decoder("last").labels == SPECIES
    other = data_of(config_of(simulated, test=["chr10"]))
    assert data.identity != other.identity
    assert data.identity == data_of(config_of(simulated), seed=7).identity


def test_a_split_by_file_needs_only_configuration(simulated):
    two = dict(list(simulated.items())[:2])
    test = dict(zip(two, list(simulated.values())[2:4], strict=True))
    data = data_of(config_of(two | {"gorilla": None}, split="file", test_species=test, valid=None, test=None))
    assert data.config.labels == ("human", "chimpanzee")
    names = {split: data.names(split, np.arange(20)) for split in ("valid", "test")}
    assert {name.split(":")[0] for name in names["test"]} == {"human", "chimpanzee"}
    # The record names say which file: those of the test are of other apes.
    assert {name.split(":")[1].partition("_")[0] for name in names["test"]} == {"bonobo", "gorilla"}
    assert {name.split(":")[1].partition("_")[0] for name in names["valid"]} == {"human", "chimpanzee"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"species": {"human": "a.fa"}},
            "data.species has FASTA files of 1 species (human)",
        ),
        ({"species": {"human": None}}, "data.species has FASTA files of 0 species (none)"),
        (
            {"species": {"a": 3, "b": "b.fa"}},
            "data.species.a: must be a FASTA file or a list of them (got 3)",
        ),
        (
            {"species": {"a": [], "b": "b.fa"}},
            "data.species.a: must be a FASTA file or a list of them (got [])",
        ),
        ({"species": {"a": "a.fa", "b": "b.fa"}}, "a.fa: no such file"),
        ({"test_species": {"horse": "x.fa"}}, "data.test_species.horse: data.species has no horse"),
        (
            {"test_species": {"human": "x.fa"}},
            "data.valid_species and data.test_species are for data.split=file",
        ),
        ({"split": "species"}, "data.split: must be chromosome or record or file (got 'species')"),
        ({"max_n": 1.0}, "data.max_n: must be at least 0 and below 1 (got 1.0)"),
        (
            {"valid_fraction": 0.5, "test_fraction": 0.5},
            "data.valid_fraction and data.test_fraction leave nothing",
        ),
        ({"valid_fraction": 0.3}, "data.valid_fraction: has no effect with data.split=record as the"),
        (
            {"split": "chromosome", "test_fraction": 0.3},
            "data.test_fraction: has no effect with data.split=",
        ),
        ({"split": "file", "test_fraction": 0.3}, "data.test_fraction: has no effect with data.split=file"),
        (
            {"length_warmup": {"first_length": 48, "steps": 3}},
            "data.length_warmup.first_length: a length of 64",
        ),
        (
            {"length_warmup": {"first_length": 16, "steps": 0}},
            "data.length_warmup.steps: must be a whole number above 0",
        ),
        ({"batch_size": 3}, "train.global_batch_size, data.batch_size: the 4 sequences of 64 bases"),
        (
            {"max_length": 4096, "length_warmup": {"first_length": None, "steps": 1}},
            "no interval of 4,096 bases",
        ),
        ({"split": "chromosome", "valid": ["1"], "test": ["5"]}, "is named as a chromosome, such as chr7"),
        ({"split": "chromosome", "valid": None}, "data.split=chromosome needs data.valid and data.test"),
        ({"valid": ["chr11"]}, "data.valid: no record has the id 'chr11'"),
    ],
)
def test_mistakes_are_one_line_before_the_first_step(simulated, changes, message):
    if "species" in changes:
        simulated = {}
        group = {"species": dict.fromkeys(SPECIES) | changes["species"]}
        changes = changes | group
    with pytest.raises(UserError) as error:
        data_of(config_of(simulated, **changes))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_an_alphabet_that_keeps_case_is_refused(simulated):
    with pytest.raises(UserError, match="the model's alphabet is bytes, which keeps case"):
        data_of(config_of(simulated, alphabet="bytes"))
