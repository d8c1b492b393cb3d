import pickle

import numpy as np
import pytest
from Bio.Seq import Seq
from hypothesis import given
from hypothesis import strategies as st

from dnamamba.data.alphabet import get_alphabet
from dnamamba.errors import UserError

DNA, BYTES = get_alphabet("dna"), get_alphabet("bytes")
IUPAC = "ACGTRYKMBDHVNSW"


def test_dna_folds_case_and_u_others_are_n():
    expected = [{65: 0, 67: 1, 71: 2, 84: 3, 85: 3}.get(byte & ~0x20, 4) for byte in range(256)]
    # Clearing bit 0x20 also maps some bytes that are not letters onto letters: only 64 to 127 fold.
    expected = [code if 64 <= byte < 128 else 4 for byte, code in enumerate(expected)]
    assert DNA.encode(bytes(range(256))).tolist() == expected


def test_bytes_is_the_identity():
    assert BYTES.encode(bytes(range(256))).tolist() == list(range(256))
    assert BYTES.decode(np.arange(1, 256)) == bytes(range(1, 256)).decode("latin-1")


def test_ids_of_specials_and_sizes():
    assert (DNA.size, DNA.n_id, DNA.pad_id) == (8, 4, 5)
    assert (BYTES.size, BYTES.n_id, BYTES.pad_id) == (256, ord("N"), 0)
    assert np.flatnonzero(DNA.scored).tolist() == [0, 1, 2, 3]
    assert np.flatnonzero(~BYTES.scored).tolist() == [0]


def test_str_bytes_and_arrays_encode_alike():
    letters = np.frombuffer(b"ACGTNRacgtnr", dtype=np.uint8)
    flat = DNA.encode(letters)
    assert DNA.encode("ACGTNRacgtnr").tolist() == DNA.encode(b"ACGTNRacgtnr").tolist() == flat.tolist()
    assert DNA.encode(letters.reshape(2, 3, 2)).tolist() == flat.reshape(2, 3, 2).tolist()


def test_decode_shows_padding_and_ids_that_mean_nothing():
    assert DNA.decode(np.arange(8)) == "ACGTN.??"
    assert BYTES.decode(np.array([65, 0, 66])) == "A.B"


@given(st.text(alphabet=IUPAC + IUPAC.lower()))
def test_bytes_reverse_complement_is_biopythons(text):
    assert BYTES.decode(BYTES.reverse_complement(BYTES.encode(text))) == str(Seq(text).reverse_complement())


@given(st.text(alphabet="ACGTN"))
def test_dna_round_trip_and_reverse_complement(text):
    ids = DNA.encode(text)
    assert DNA.decode(ids) == text
    assert DNA.decode(DNA.reverse_complement(ids)) == str(Seq(text).reverse_complement())


@pytest.mark.parametrize("alphabet", [DNA, BYTES], ids=repr)
def test_complement_undoes_itself_but_for_u(alphabet):
    ids = np.array([code for code in range(alphabet.size) if code not in b"Uu"], dtype=np.uint8)
    assert alphabet.complement[alphabet.complement[ids]].tolist() == ids.tolist()
    assert alphabet.complement[alphabet.pad_id] == alphabet.pad_id
    assert alphabet.complement[alphabet.n_id] == alphabet.n_id


def test_reverse_complement_along_an_axis():
    ids = DNA.encode(np.frombuffer(b"AACGTG", dtype=np.uint8).reshape(3, 2))
    assert [DNA.decode(row) for row in DNA.reverse_complement(ids)] == ["TT", "CG", "CA"]
    assert [DNA.decode(row) for row in DNA.reverse_complement(ids, axis=0)] == ["AC", "GC", "TT"]


@pytest.mark.parametrize("alphabet", [DNA, BYTES], ids=repr)
def test_alphabet_pickles_to_itself_and_cannot_be_changed(alphabet):
    assert pickle.loads(pickle.dumps(alphabet)) is alphabet is get_alphabet(alphabet.name)
    with pytest.raises(ValueError, match="read-only"):
        alphabet.to_id[0] = 1


def test_errors_say_what_is_wrong():
    with pytest.raises(UserError, match=r"unknown alphabet 'rna'; choose one of: dna, bytes"):
        get_alphabet("rna")
    with pytest.raises(UserError, match=r"'→' at position 3"):
        DNA.encode("AC→T")
