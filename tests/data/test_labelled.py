"""Batches of labelled sequences: a pure function of the sample's number, padded where asked."""

from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from dnamamba import get_alphabet
from dnamamba.data.coding import coding_windows
from dnamamba.data.embedded import YEAST_CODING_SEQUENCES, YEAST_FASTA, YEAST_MODEL
from dnamamba.data.examples import Collector, Examples
from dnamamba.data.fasta import Genome
from dnamamba.data.intervals import bed_rows
from dnamamba.data.labelled import Crop, LabelledRows, LabelledStream, padded

DNA = get_alphabet("dna")


def build(lengths: list[int]) -> Examples:
    """Sequence i is made of base i mod 4 alone, so that every base tells where it is from."""
    collector = Collector(DNA)
    for number, length in enumerate(lengths):
        letters = np.full(length, ord("ACGT"[number % 4]), dtype=np.uint8)
        collector.add(letters, f"s{number}", f"s{number}", "a")
    return collector.examples()


EXAMPLES = build([5, 9, 1, 7, 12, 3, 8])
ROWS = np.array([0, 2, 3, 4, 6])
VALUES = np.arange(7)


def stream(**changes: Any) -> LabelledStream:
    arguments: dict[str, Any] = {
        "crop": Crop(6, "random"),
        "reverse_complement": True,
        "padding": "right",
        "seed": 1,
        "share": 4,
    }
    return LabelledStream(EXAMPLES, ROWS, VALUES, DNA, **{**arguments, **changes})


def test_epoch_reads_every_example_once_reordered() -> None:
    orders = [stream().example_of(np.arange(5) + 5 * epoch) for epoch in range(40)]
    for order in orders:
        assert sorted(order.tolist()) == ROWS.tolist()
    assert len({tuple(order.tolist()) for order in orders}) > 25  # of the 120 there are


def test_a_batch_is_what_its_samples_say() -> None:
    batches = list(islice(stream(reverse_complement=False), 6))
    for step, batch in enumerate(batches):
        assert batch["index"].tolist() == list(range(4 * step, 4 * step + 4))
        chosen = stream().example_of(batch["index"].numpy())
        assert batch["labels"].tolist() == VALUES[chosen].tolist()
        assert batch["lengths"].tolist() == np.minimum(EXAMPLES.lengths[chosen], 6).tolist()
        for row, length, example in zip(batch["tokens"], batch["lengths"], chosen, strict=True):
            assert row[:length].tolist() == [example % 4] * int(length)
            assert (row[length:] == DNA.pad_id).all()
    strands = {int(base) for batch in islice(stream(), 20) for base in batch["tokens"][:, 0]}
    assert strands == {0, 1, 2, 3}  # examples 0, 2, 3, 4, 6 forward have 0, 2 and 3 only


@pytest.mark.parametrize("workers", [0, 2])
def test_resumed_or_shared_it_is_one_stream(workers: int) -> None:
    whole = list(islice(stream(), 6))
    resumed = DataLoader(stream(start_step=2), batch_size=None, num_workers=workers)
    for ours, theirs in zip(whole[2:], islice(resumed, 4), strict=True):
        for name, column in ours.items():
            assert torch.equal(column, theirs[name]), name
    ranks = [list(islice(stream(share=2, rank=rank, world_size=2), 6)) for rank in range(2)]
    for step, ours in enumerate(whole):
        assert torch.cat([ranks[rank][step]["labels"] for rank in range(2)]).equal(ours["labels"])


@settings(max_examples=60, deadline=None)
@given(
    size=st.integers(1, 30),
    length=st.integers(1, 12),
    part=st.sampled_from(["random", "start", "middle", "end"]),
    random=st.one_of(st.none(), st.integers(0, 2**64 - 1)),
)
def test_a_crop_is_a_part_of_the_sequence(size: int, length: int, part: str, random: int | None) -> None:
    ids = np.arange(size, dtype=np.uint8)
    found = Crop(length, part).take(ids, random)
    assert found.size == min(size, length)
    assert np.array_equal(found, ids[found[0] : found[0] + found.size])
    spare = size - found.size
    places = {"start": 0, "end": spare, "middle": spare // 2, "random": spare // 2}
    if part != "random" or random is None:
        assert found[0] == places[part]


def test_random_crops_reach_every_place() -> None:
    ids = np.arange(9, dtype=np.uint8)
    rng = np.random.default_rng(0)
    starts = {int(Crop(6, "random").take(ids, int(rng.integers(2**63)))[0]) for _ in range(100)}
    assert starts == {0, 1, 2, 3}


@pytest.mark.parametrize("side", ["right", "left"])
def test_padding_is_on_the_side_asked_for(side: str) -> None:
    tokens, lengths = padded([np.arange(9, dtype=np.uint8), np.array([3], np.uint8)], 5, side)
    assert lengths.tolist() == [9, 1]
    longest, shortest = [*range(9)], [3]
    assert tokens.shape == (2, 16)
    for row, real in zip(tokens.tolist(), (longest, shortest), strict=True):
        filling = [5] * (16 - len(real))
        assert row == (real + filling if side == "right" else filling + real)


def test_evaluation_reads_each_example_once_over_all_ranks() -> None:
    seen = []
    for rank in range(3):
        rows = LabelledRows(
            EXAMPLES,
            ROWS,
            VALUES,
            DNA,
            crop=Crop(6, "start"),
            padding="left",
            batch_size=2,
            rank=rank,
            world_size=3,
        )
        for batch in (rows[item] for item in range(len(rows))):
            seen += batch["index"].tolist()
            assert batch["labels"].tolist() == VALUES[batch["index"].numpy()].tolist()
            assert (
                batch["lengths"].tolist() == np.minimum(EXAMPLES.lengths[batch["index"].numpy()], 6).tolist()
            )
    assert sorted(seen) == ROWS.tolist()


def test_coding_windows_are_what_they_are_called() -> None:
    """Against the BED, base by base: coding within one exon, intergenic outside every gene."""
    collector = Collector(DNA)
    coding_windows(256, collector)
    found = collector.examples()
    assert len(found) == 19_690
    assert (found.lengths == 256).all()
    exons: dict[str, set[tuple[int, int]]] = {}
    genes: dict[str, list[tuple[int, int]]] = {}
    for _, interval, others in bed_rows(YEAST_CODING_SEQUENCES):
        genes.setdefault(interval.name, []).append((interval.start, interval.end))
        for size, start in zip(others[7].split(","), others[8].split(","), strict=True):
            first = interval.start + int(start)
            exons.setdefault(interval.name, set()).add((first, first + int(size)))
    genome = Genome(YEAST_FASTA, DNA)
    counts: dict[tuple[str, str], int] = {}
    for number in range(0, len(found), 7):
        name, _, place = found.names[number].partition(":")
        start, end = map(int, place.split("-"))
        label = found.labels[number]
        assert np.array_equal(found[number], genome.fetch(name, start, end))
        if label == "intergenic":
            assert not any(first < end and start < last for first, last in genes[name])
        else:  # overlapping exons of two genes may cover a window together
            covered = np.zeros(end - start, dtype=bool)
            for first, last in exons[name]:
                covered[max(first - start, 0) : max(last - start, 0)] = True
            assert covered.all()
    assert found.groups is not None
    for pair in zip(found.groups, found.labels, strict=True):
        counts[pair] = counts.get(pair, 0) + 1
    for name in genome.names:
        assert counts[name, "coding"] == counts[name, "intergenic"] > 100


def test_the_packaged_model_has_learnt_its_genome() -> None:
    """Bits per base on a piece of chrVI, a chromosome it has not seen: below order 0's 1.963."""
    from dnamamba import LanguageModel, load

    model = load(YEAST_MODEL)
    assert isinstance(model, LanguageModel)
    bases = torch.from_numpy(Genome(YEAST_FASTA, DNA).fetch("chrVI", 20_000, 40_001).copy())
    windows = bases[:-1].reshape(-1, 500)
    targets = bases[1:].reshape(-1, 500).long()
    with torch.no_grad():
        logits = model(windows).logits
    nats = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten()).item()
    assert nats / np.log(2) < 1.945
