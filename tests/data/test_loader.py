import pickle
from itertools import islice

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from dnamamba.data.alphabet import get_alphabet
from dnamamba.data.epochs import EpochWindows
from dnamamba.data.fasta import Genome
from dnamamba.data.intervals import Interval
from dnamamba.data.length_schedule import length_schedule
from dnamamba.data.loader import TiledWindows, WindowStream
from dnamamba.data.sampling import RandomWindows, gather, tiled_windows

LENGTH = 20
INTERVALS = (Interval("a", 0, 300), Interval("b", 10, 100))


@pytest.fixture(scope="module")
def genome(tmp_path_factory):
    bases = np.frombuffer(b"ACGT", dtype=np.uint8)[np.random.default_rng(1).integers(4, size=400)].tobytes()
    path = tmp_path_factory.mktemp("genome") / "g.fa"
    path.write_bytes(b">a\n" + bases[:300] + b"\n>b\n" + bases[300:] + b"\n")
    return Genome(path, get_alphabet("dna"))


def stages(batch_size, *lengths):
    """Two steps a length, all of as many bases."""
    return length_schedule(lengths, bases_per_step=batch_size * lengths[-1], steps=2)


def stream(genome, batch_size=4, **options):
    windows = RandomWindows(INTERVALS, LENGTH, 0, True)
    return WindowStream(genome, stages(batch_size, LENGTH), [windows], **options)


def first(batches, number):
    return [(batch["index"].tolist(), batch["tokens"].tolist()) for batch in islice(iter(batches), number)]


def test_stream_is_the_windows_of_its_samples(genome):
    windows = RandomWindows(INTERVALS, LENGTH, 0, True)
    batches = list(islice(iter(stream(genome, start_step=3, rank=1, world_size=2)), 2))
    for step, batch in enumerate(batches, start=3):
        index = np.arange(step * 4 + 2, step * 4 + 4)
        assert batch["index"].tolist() == index.tolist()
        assert batch["index"].dtype == torch.int64
        assert batch["tokens"].dtype == torch.uint8
        expected = gather(genome, windows.names, windows.draw(index), LENGTH)
        assert batch["tokens"].tolist() == expected.tolist()


def test_stream_of_epochs_is_read_across_their_border(genome):
    windows = EpochWindows(INTERVALS, LENGTH, 0, reverse_complement=True, lengths=genome.lengths)
    assert windows.samples == 15 + 4
    batches = list(islice(iter(WindowStream(genome, stages(4, LENGTH), [windows], start_step=3)), 2))
    for first_sample, batch in zip((12, 16), batches, strict=True):
        drawn = windows.draw(np.arange(first_sample, first_sample + 4))
        assert batch["tokens"].tolist() == gather(genome, windows.names, drawn, LENGTH).tolist()


def test_stage_has_its_own_windows_and_sample_numbers(genome):
    schedule = stages(2, 5, 10, 20)
    windows = [RandomWindows(INTERVALS, length, seed, True) for seed, length in enumerate((5, 10, 20))]
    batches = list(islice(iter(WindowStream(genome, schedule, windows, start_step=1)), 6))
    for batch, (number, first_sample, rows) in zip(
        batches, [(0, 8, 8), (1, 0, 4), (1, 4, 4), (2, 0, 2), (2, 2, 2), (2, 4, 2)], strict=True
    ):
        drawn = windows[number].draw(np.arange(first_sample, first_sample + rows))
        expected = gather(genome, windows[number].names, drawn, windows[number].length)
        assert batch["tokens"].tolist() == expected.tolist()


# More workers than cores make DataLoader warn; here the order is the point.
@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_workers_do_not_change_the_stream(genome, workers):
    alone = first(stream(genome, start_step=5), 9)
    loader = DataLoader(stream(genome, start_step=5), batch_size=None, num_workers=workers)
    assert first(loader, 9) == alone


def test_resumed_stream_is_rest_of_whole_one(genome):
    assert first(stream(genome, start_step=6), 4) == first(stream(genome), 10)[6:]


def test_ranks_together_read_what_one_process_reads(genome):
    whole = first(stream(genome, batch_size=8), 5)
    ranks = [first(stream(genome, batch_size=8, rank=rank, world_size=2), 5) for rank in range(2)]
    joined = [(left[0] + right[0], left[1] + right[1]) for left, right in zip(*ranks, strict=True)]
    assert joined == whole


def test_pickled_stream_is_same_stream_without_bases(genome):
    original = stream(genome)
    frozen = pickle.dumps(original)
    assert len(frozen) < 3000
    assert first(pickle.loads(frozen), 3) == first(original, 3)


def batches_of(dataset):
    return [dataset[item]["index"].tolist() for item in range(len(dataset))]


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_every_tile_is_on_one_rank_once(genome, world_size):
    tiles = tiled_windows(INTERVALS, LENGTH)
    whole = gather(genome, ("a", "b"), tiles, LENGTH)
    seen, rows = [], []
    for rank in range(world_size):
        options = {"batch_size": 4, "rank": rank, "world_size": world_size}
        dataset = TiledWindows(genome, ("a", "b"), tiles, LENGTH, **options)
        batches = list(DataLoader(dataset, batch_size=None))
        assert len(batches) == len(dataset)
        for batch in batches:
            index = batch["index"].numpy()
            assert len(index) <= 4
            assert batch["tokens"][index >= 0].tolist() == whole[index[index >= 0]].tolist()
            assert (batch["tokens"][index < 0] == genome.alphabet.pad_id).all()
            seen.append(index.tolist())
        rows.append(sum(map(len, batches_of(dataset))))
    assert sorted(tile for index in seen for tile in index if tile >= 0) == list(range(len(whole)))
    assert len(set(rows)) == 1


def test_tiles_end(genome):
    dataset = TiledWindows(genome, ("a", "b"), tiled_windows(INTERVALS, LENGTH), LENGTH, batch_size=8)
    assert sum(len(batch["index"]) for batch in dataset) == 20
    with pytest.raises(IndexError):
        dataset[len(dataset)]
