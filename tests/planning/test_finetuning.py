"""What a plan of a fine-tuning counts of its head."""

import pytest

from dnamamba.commands.plan import plan_finetuning, print_finetuning_plan
from dnamamba.config import composed
from dnamamba.planning.cost import GIB
from dnamamba.planning.plan import Plan

ARGUMENTS = ("model=scratch", "data.max_length=512", "data.batch_size=8", "train.global_batch_size=16")


def planned(*overrides: str) -> Plan:
    return plan_finetuning(composed("finetune", [*ARGUMENTS, "train.max_steps=3", *overrides]))


def test_both_strands_are_kept_until_the_backward_pass() -> None:
    one, two = (planned(f"decoder.context={context}") for context in ("forward", "both"))
    assert one.memory_gib is not None
    assert two.memory_gib is not None
    # Of the other strand's 8 x 512 positions, as of the first's: 2 blocks and what is at work, 128 channels.
    assert two.memory_gib - one.memory_gib == pytest.approx(8 * 512 * 128 * (2 * 27.5 + 50) / GIB)
    assert (two.bases, two.steps, two.parameters) == (one.bases, one.steps, one.parameters)


@pytest.mark.parametrize(
    ("overrides", "lines"),
    [
        (["decoder.context=forward"], ["the head's weights are not counted"]),
        (
            ["decoder.context=both", "decoder.conv=2"],
            [
                "decoder.context=both: memory and time are those of two passes, one for each strand",
                "the head's weights are not counted, nor the hidden states of its convolutions "
                "(decoder.conv)",
            ],
        ),
        (
            [],
            [
                "decoder.context=auto: planned with one pass; both, if it is chosen, takes up to twice of "
                "each",
                "the head's weights are not counted",
            ],
        ),
    ],
)
def test_a_plan_says_what_it_counts(
    overrides: list[str], lines: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    print_finetuning_plan(composed("finetune", [*ARGUMENTS, *overrides]))
    said = capsys.readouterr().out.splitlines()
    assert [line for line in said if line.startswith(("decoder.", "the head's"))] == lines
