import time
from collections import Counter
from math import log2

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnamamba.data import markov
from dnamamba.data.alphabet import get_alphabet
from dnamamba.data.embedded import YEAST_FASTA
from dnamamba.data.fasta import Genome
from dnamamba.data.intervals import whole
from dnamamba.data.markov import MarkovModel
from dnamamba.data.sampling import gather, record_names, tiled_windows

DNA = get_alphabet("dna")
SEQUENCES = st.lists(st.text(alphabet="ACGTN", max_size=60), min_size=1, max_size=4)


def words_of(texts, order, both_strands):
    strands = [*texts]
    if both_strands:
        strands += [text[::-1].translate(str.maketrans("ACGT", "TGCA")) for text in texts]
    words = (text[at : at + order + 1] for text in strands for at in range(len(text) - order))
    return Counter(word for word in words if "N" not in word)


def plain_bits(words, order, window):
    """Bits and targets of one window by counting strings, the shorter contexts from the same words."""
    bits, targets = 0.0, 0
    for at in range(1, len(window)):
        if window[at] not in "ACGT":
            continue
        context = ""
        while len(context) < min(order, at) and window[at - len(context) - 1] in "ACGT":
            context = window[at - len(context) - 1] + context
        seen = {base: sum(n for word, n in words.items() if word.endswith(context + base)) for base in "ACGT"}
        bits -= log2((seen[window[at]] + 1) / (sum(seen.values()) + 4))
        targets += 1
    return bits, targets


@given(SEQUENCES, st.integers(0, 4), st.booleans())
def test_counts_equal_words_counted_one_by_one(texts, order, both_strands):
    model = MarkovModel.fit(map(DNA.encode, texts), order, both_strands)
    words = words_of(texts, order, both_strands)
    assert model.counts.sum() == words.total()
    for word, number in words.items():
        *context, base = DNA.encode(word).tolist()
        row = sum(code * 4**place for place, code in enumerate(reversed(context)))
        assert model.counts[row, base] == number


@given(
    texts=SEQUENCES,
    windows=st.lists(st.text(alphabet="ACGTN.", min_size=8, max_size=8), min_size=1, max_size=3),
    order=st.integers(0, 4),
    lower=st.integers(0, 4),
)
@settings(max_examples=60)
def test_bits_are_those_of_a_count_by_hand(texts, windows, order, lower):
    tokens = np.stack([DNA.encode(window) for window in windows])
    tokens[np.array([list(window) for window in windows]) == "."] = DNA.pad_id
    model = MarkovModel.fit(map(DNA.encode, texts), order)
    order_used = min(order, lower)
    expected = [plain_bits(words_of(texts, order, True), order_used, window) for window in windows]
    bits, targets = model.lower(order_used).bits(tokens)
    assert targets == sum(number for _, number in expected)
    assert bits == pytest.approx(sum(cost for cost, _ in expected), rel=1e-12)


def test_a_sequence_counted_in_pieces_is_counted_once(monkeypatch):
    ids = np.random.default_rng(0).integers(5, size=1000).astype(np.uint8)
    at_once = MarkovModel.fit([ids], 3).counts
    for piece in (1, 3, 7, 999, 1000):
        monkeypatch.setattr(markov, "_PIECE", piece)
        assert (MarkovModel.fit([ids], 3).counts == at_once).all()


def test_untrained_model_says_two_bits_per_base():
    assert MarkovModel.fit([], 3).bits(DNA.encode(np.frombuffer(b"ACGTACGT", np.uint8).reshape(2, 4))) == (
        12.0,
        6,
    )


def test_deterministic_sequence_costs_nothing_after_its_context():
    ids = DNA.encode("AAC" * 100_000)
    model = MarkovModel.fit([ids], 2, both_strands=False)
    bits, targets = model.bits(ids[None, : 3 * 50])
    # The first target has one base before it: after A, A and C are equally likely; all others are certain.
    assert targets == 149
    assert bits == pytest.approx(1.0, abs=0.01)


@pytest.fixture(scope="module")
def yeast():
    genome = Genome(YEAST_FASTA, DNA)
    genome.load()
    return genome


@pytest.mark.parametrize("length", [1024, 16_384])
def test_yeast_with_v_and_vi_held_out(yeast, length):
    held_out = whole(yeast.lengths, ["chrV", "chrVI"])
    train = [yeast.fetch(name) for name in yeast.names if name not in ("chrV", "chrVI")]
    tokens = gather(yeast, record_names(held_out), tiled_windows(held_out, length), length)
    began = time.process_time()
    largest = MarkovModel.fit(train, 8)
    fitted = time.process_time()
    found = {}
    for order in (0, 2, 4, 8):
        bits, targets = largest.lower(order).bits(tokens)
        found[order] = bits / targets
    assert targets == 576_874 + 270_161 - 2
    assert found == pytest.approx({0: 1.962, 2: 1.949, 4: 1.943, 8: 1.935}, abs=0.001)
    # Takes a tenth of these; of the processor, whatever else runs.
    assert fitted - began < 5
    assert time.process_time() - fitted < 5
