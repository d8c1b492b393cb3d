from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnamamba.data import hg38
from dnamamba.data.length_schedule import (
    MicroBatches,
    Stage,
    doublings,
    length_schedule,
    micro_batches,
    sequences_per_step,
)
from dnamamba.errors import UserError

PAPER = {"bases_per_step": 2**24, "epochs": 2, "samples_per_epoch": hg38.samples_per_epoch}


def paper(last, **changes):
    return length_schedule(doublings(2**10, last), **{**PAPER, **changes})


def test_the_schedule_of_the_paper_s_longest_context():
    schedule = paper(2**20)
    assert (schedule.max_steps, schedule.bases) == (19_137, 19_137 * 2**24)
    assert round(schedule.bases / 1e9) == 321
    assert [stage.length for stage in schedule.stages] == [2**power for power in range(10, 21)]
    assert [stage.sequences for stage in schedule.stages] == [2 ** (24 - power) for power in range(10, 21)]
    # 531.578 steps each up to 2^17, then 2,126.3, 4,252.6 and 8,505.3, summed before they are rounded.
    exact = [531.578125 * count for count in range(1, 9)] + [6378.9375, 10631.5625, 19136.8125]
    assert [stage.end_step for stage in schedule.stages] == [round(end) for end in exact]


def test_shorter_maximum_runs_rest_of_steps_at_it():
    schedule = paper(2**12, max_steps=20_000)
    assert [stage.end_step for stage in schedule.stages] == [532, 1063, 20_000]
    assert schedule.stage_at(19_999) == Stage(2, 2**12, 2**12, 1063, 20_000)
    assert schedule.bases == 20_000 * 2**24


def test_shorter_run_leaves_out_unreached_stages():
    schedule = paper(2**20, max_steps=600)
    assert [(stage.length, stage.end_step) for stage in schedule.stages] == [(2**10, 532), (2**11, 600)]


def test_stages_by_steps():
    schedule = length_schedule([4, 8, 16], bases_per_step=32, steps=10, max_steps=100)
    assert [(stage.first_step, stage.end_step, stage.sequences) for stage in schedule.stages] == [
        (0, 10, 8),
        (10, 20, 4),
        (20, 100, 2),
    ]


def test_stages_of_unequal_steps():
    schedule = length_schedule([4, 8, 16], bases_per_step=32, steps=[10, 3], max_steps=100)
    assert [stage.end_step for stage in schedule.stages] == [10, 13, 100]
    schedule = length_schedule([4, 8, 16], bases_per_step=32, steps=[10, 3], max_steps=11)
    assert [(stage.length, stage.end_step) for stage in schedule.stages] == [(4, 10), (8, 11)]


def test_one_length_needs_only_steps_of_run():
    (stage,) = length_schedule([2**10], bases_per_step=2**20, max_steps=10_000).stages
    assert (stage.steps, stage.sequences, stage.bases) == (10_000, 1024, 10_000 * 2**20)


@given(
    lengths=st.lists(st.integers(1, 12).map(lambda power: 2**power), min_size=1, max_size=6),
    epochs=st.floats(0.01, 30),
    samples=st.integers(1, 10**6),
    max_steps=st.none() | st.integers(1, 10**6),
)
def test_the_stage_is_a_function_of_the_step(lengths, epochs, samples, max_steps):
    def make():
        return length_schedule(
            lengths,
            bases_per_step=2**14,
            epochs=epochs,
            samples_per_epoch=lambda length: samples,
            max_steps=max_steps,
        )

    if max_steps is None and round(Fraction(epochs) * samples * sum(lengths) / 2**14) == 0:
        with pytest.raises(UserError, match="no stage"):
            make()
        return
    schedule = make()
    stages = schedule.stages
    assert [stage.first_step for stage in stages] == [0, *(stage.end_step for stage in stages[:-1])]
    assert [stage.number for stage in stages] == list(range(len(stages)))
    assert schedule.max_steps == (max_steps or stages[-1].end_step)
    assert schedule.bases == schedule.max_steps * 2**14
    for stage in stages:
        assert stage.sequences * stage.length == 2**14
        assert schedule.stage_at(stage.first_step) == schedule.stage_at(stage.end_step - 1) == stage
        assert stage.samples(stage.first_step)[0] == 0
        assert stage.samples(stage.end_step - 1)[0] == (stage.steps - 1) * stage.sequences
    assert schedule.stage_at(schedule.max_steps) == stages[-1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lengths": [1000]}, "a step of 16,777,216 bases is not a whole number of sequences of 1,000 bases"),
        ({"lengths": []}, r"at least 1 \(got \[\]\)"),
        ({"lengths": [8, 0]}, r"at least 1 \(got \[8, 0\]\)"),
        ({"steps": 5}, "epochs or of steps: set one of the two, not both"),
        ({"epochs": None}, "how long does a stage last"),
        ({"epochs": None, "lengths": [8]}, "how long does a stage last"),
        ({"epochs": 0}, r"the epochs of a length schedule: must be more than 0 \(got 0\)"),
        ({"max_steps": -1}, r"the max_steps of a length schedule: must be more than 0 \(got -1\)"),
        (
            {"epochs": None, "steps": [5, 5], "max_steps": 10},
            "a number for each of the 1 lengths before the last, .* there are 2 numbers",
        ),
        ({"epochs": None, "steps": [5]}, "there are 1 numbers, and max_steps is None"),
        (
            {"epochs": None, "steps": [0], "max_steps": 9},
            "the steps of a length schedule: must be more than 0",
        ),
        ({"epochs": 1e-6}, "no stage of the length schedule is as long as a step of 16,777,216 bases"),
    ],
)
def test_a_schedule_that_cannot_be_made_says_why(changes, message):
    options = {**PAPER, "lengths": [2**10, 2**11], **changes}
    with pytest.raises(UserError, match=message):
        length_schedule(options.pop("lengths"), **options)


def test_doublings():
    assert doublings(1024, 8192) == (1024, 2048, 4096, 8192)
    assert doublings(7, 7) == (7,)
    for last in (3000, 512):
        with pytest.raises(UserError, match=f"a length of {last:,} is not 1,024 doubled"):
            doublings(1024, last)


def test_micro_batches_fill_memory_and_make_up_step():
    options = {"world_size": 2, "bases_at_a_time": 2**18}
    for stage in paper(2**18).stages:
        batch_size, accumulate = micro_batches(stage.sequences, stage.length, **options)
        assert (batch_size * stage.length, 2 * accumulate * batch_size) == (2**18, stage.sequences)
    assert micro_batches(6, 8, world_size=1, bases_at_a_time=1000) == MicroBatches(6, 1)


@pytest.mark.parametrize(
    ("sequences", "world_size", "room", "message"),
    [
        (8, 3, 100, "the 8 sequences of 10 bases of a step cannot be shared by 3 processes"),
        (14, 2, 40, "the 7 sequences of 10 bases that a process reads a step cannot be read 4 at a time"),
        (8, 2, 9, "a process that holds 9 bases at a time cannot read 10"),
    ],
)
def test_micro_batches_that_do_not_divide_name_numbers(sequences, world_size, room, message):
    with pytest.raises(UserError, match=message):
        micro_batches(sequences, 10, world_size=world_size, bases_at_a_time=room)


def test_a_step_is_a_whole_number_of_sequences():
    assert sequences_per_step(2**10, 2**20) == 1024
    with pytest.raises(
        UserError, match="a step of 1,048,576 bases is not a whole number of sequences of 1,023"
    ):
        sequences_per_step(1023, 2**20)


@pytest.mark.parametrize("world_size", [1, 2, 4, 8])
def test_processes_share_the_samples_of_a_step(world_size):
    stage = Stage(3, 16, 8, first_step=100, end_step=200)
    for step in (100, 101, 199):
        shares = [stage.samples(step, rank, world_size).tolist() for rank in range(world_size)]
        assert [len(share) for share in shares] == [8 // world_size] * world_size
        assert [sample for share in shares for sample in share] == list(
            range((step - 100) * 8, (step - 99) * 8)
        )
