"""Whole records as samples."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from dnamamba import Genome, GenomeConfig, UserError, get_alphabet
from dnamamba.data.intervals import Interval
from dnamamba.data.records import WholeRecords
from dnamamba.datasets.genome import GenomeData

RECORDS = [
    Interval("one", 0, 3000),
    Interval("two", 0, 1000),
    Interval("three", 5, 45),
    Interval("dot", 0, 1),
]


def test_each_epoch_reads_every_record_once() -> None:
    sampler = WholeRecords(RECORDS, seed=0, reverse_complement=True)
    assert (sampler.length, sampler.names) == (2999, ("one", "two", "three"))
    windows = sampler.draw(np.arange(300))
    epochs = windows.record.reshape(100, 3)
    assert (np.sort(epochs, axis=1) == np.arange(3)).all()
    assert len({tuple(epoch) for epoch in epochs.tolist()}) == 6
    assert (windows.length == np.array([3000, 1000, 40])[windows.record]).all()
    assert (windows.start == np.array([0, 0, 5])[windows.record]).all()
    assert 0.4 < windows.strand.mean() < 0.6


def test_a_sample_is_a_function_of_its_number() -> None:
    sampler = WholeRecords(RECORDS, seed=3, reverse_complement=True)
    together, alone = sampler.draw(np.arange(20)), sampler.draw(np.array([17]))
    assert [column[17] for column in together] == [column[0] for column in alone]


def test_records_of_one_base_are_refused() -> None:
    with pytest.raises(UserError, match="no training record has two bases"):
        WholeRecords(RECORDS[3:], seed=0, reverse_complement=False)


def chromosomes(genome: Path, **data: object) -> GenomeData:
    settings = {"max_length": "chromosome", "batch_size": 1, "markov_orders": [0], **data}
    config = GenomeConfig(fasta=str(genome), **settings)
    return GenomeData(config, 0, global_batch_size=2, max_steps=3, world_size=1)


def test_batches_of_records_have_their_longest_length(genome: Path) -> None:
    data = chromosomes(genome, valid=["two"], test=[], reverse_complement=False)
    stage = data.schedule.stages[0]
    assert (stage.length, stage.sequences, stage.bases) == (2999, 2, 3 * (2999 + 999))
    batches = iter(data.train_dataloader())
    records = Genome(genome, get_alphabet("dna"))
    for _ in range(2):  # two records, two a step: every step is an epoch
        tokens = next(batches)["tokens"].numpy()
        assert tokens.shape == (2, 3000)
        lengths = sorted((row != records.alphabet.pad_id).sum() for row in tokens)
        assert lengths == [1000, 3000]
        longest = max(tokens, key=lambda row: (row != records.alphabet.pad_id).sum())
        assert (longest == records.fetch("one")).all()
    assert data.micro_batch(next(batches)) == 1
    (held_out,) = (list(loader) for _, loader in data.held_out_loaders())
    assert [batch["tokens"].shape for batch in held_out] == [(1, 1000)]
    assert (held_out[0]["tokens"][0].numpy() == records.fetch("two")).all()
    assert data.baselines("valid")[0] == pytest.approx(2.0, abs=0.01)


def test_only_the_named_records_train(genome: Path) -> None:
    data = chromosomes(genome, train=["three"], valid=["two"])
    assert [[interval.name for interval in split] for split in data.splits] == [["three"], ["two"], []]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"max_length": "all"}, r"data\.max_length: .*got 'all'"),
        ({"max_length": 2.5}, r"data\.max_length: .*got 2.5"),
        ({"intervals": "genome.bed"}, r"data\.intervals: .*got genome\.bed"),
        ({"train": ["two"], "valid": ["two"]}, r"data\.train: .*got two in data\.valid"),
        ({"train": ["four"], "valid": ["two"]}, r"data\.train: .*four"),
    ],
    ids=["a word", "a fraction", "intervals", "two splits", "unknown"],
)
def test_settings_of_records_are_refused_by_name(
    data: Mapping[str, object], message: str, genome: Path
) -> None:
    with pytest.raises(UserError, match=message):
        chromosomes(genome, **data)


def test_run_of_records_needs_number_of_steps(genome: Path) -> None:
    config = GenomeConfig(fasta=str(genome), max_length="chromosome", batch_size=1)
    with pytest.raises(UserError, match=r"train\.max_steps: .*got null"):
        GenomeData(config, 0, global_batch_size=1, max_steps=None, world_size=1)


def test_records_are_planned_from_an_index(tmp_path: Path) -> None:
    rows = "one\t3000\t5\t60\t61\ntwo\t1000\t3062\t60\t61\nx\t9\t4100\t60\t61\n"
    (tmp_path / "absent.fa.fai").write_text(rows)
    config = GenomeConfig(
        fasta=str(tmp_path / "absent.fa"), max_length="chromosome", batch_size=2, valid=["x"]
    )
    planned = config.planned(global_batch_size=2, max_steps=5, world_size=1, training_segments=0)
    assert planned.stages[0].length == 2999
    assert planned.bases == 5 * (2999 + 999)
    assert config.bases_at_a_time == 2 * 2999
