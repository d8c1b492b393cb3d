"""Text and sound as bytes: mu-law, files, and what is held out of them."""

import wave
from pathlib import Path

import numpy as np
import pytest

from dnamamba import UserError, get_alphabet
from dnamamba.data.byte_files import ByteFiles, split_files
from dnamamba.data.sound import from_mulaw, mulaw, read_sound, write_sound

OCTETS, MULAW = get_alphabet("octets"), get_alphabet("mulaw")


def wav(path: Path, sound: np.ndarray, rate: int = 16_000) -> None:
    """Write 16-bit samples [frames] or [frames, channels] with the standard library."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1 if sound.ndim == 1 else sound.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.round(sound * 32767).astype("<i2").tobytes())


def test_mulaw_steps_are_those_of_formula() -> None:
    """127 ln(1 + 255 x) / ln 256 for x = 1/255 and 15/255: 127/8 and 127/2, to the nearest."""
    assert mulaw(np.array([0, 1 / 255, 15 / 255, 1, 7])).tolist() == [128, 144, 192, 255, 255]
    assert mulaw(np.array([-1 / 255, -15 / 255, -1])).tolist() == [112, 64, 1]


def test_mulaw_and_back_are_as_near_as_steps_allow() -> None:
    every = np.arange(1, 256, dtype=np.uint8)
    np.testing.assert_array_equal(mulaw(from_mulaw(every)), every)
    sound = np.linspace(-1, 1, 1001)
    step = np.log(256) / 127 * (1 / 255 + np.abs(sound))  # the slope of the inverse
    assert (np.abs(from_mulaw(mulaw(sound)) - sound) <= 0.52 * step).all()
    assert from_mulaw(np.array([0, 128], dtype=np.uint8)).tolist() == [0, 0]


def test_sound_is_read_as_mean_of_channels(tmp_path: Path) -> None:
    pytest.importorskip("soundfile")
    sound = np.sin(np.arange(4000) / 9) / 2
    wav(tmp_path / "a.wav", np.stack([sound, np.zeros(4000)], 1))
    np.testing.assert_array_equal(
        read_sound(tmp_path / "a.wav", 16_000),
        mulaw((np.round(sound * 32767) / 32768).astype(np.float32) / 2),
    )


def test_written_sound_reads_as_its_ids(tmp_path: Path) -> None:
    pytest.importorskip("soundfile")
    ids = np.arange(1, 256, dtype=np.uint8)
    write_sound(tmp_path / "a.wav", ids, 8000)
    np.testing.assert_array_equal(read_sound(tmp_path / "a.wav", 8000), ids)
    with wave.open(str(tmp_path / "a.wav")) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 8000)


def test_sound_that_does_not_fit_is_one_line(tmp_path: Path) -> None:
    pytest.importorskip("soundfile")
    wav(tmp_path / "a.wav", np.zeros(10), rate=8000)
    with pytest.raises(UserError, match=r"a\.wav: expected 16,000 samples per second \(got 8,000\)"):
        read_sound(tmp_path / "a.wav", 16_000)
    (tmp_path / "b.wav").write_bytes(b"RIFF no sound")
    with pytest.raises(UserError, match=r"b\.wav: can't be read as sound \([^\n]*\); convert it to WAV$"):
        read_sound(tmp_path / "b.wav", 16_000)


def text_files(folder: Path, number: int) -> ByteFiles:
    for i in range(number):
        (folder / f"{i // 10}").mkdir(exist_ok=True)
        (folder / f"{i // 10}" / f"{i}.txt").write_text(f"text {i}")
    return ByteFiles(str(folder), OCTETS, 16_000)


def test_files_are_records_and_hidden_ones_are_not(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    for name in (".git/a", "b.txt", "a.txt", ".c"):
        (tmp_path / name).write_bytes(b"caf\xc3\xa9\xff")
    files = ByteFiles(str(tmp_path), OCTETS, 16_000)
    assert files.lengths == {"a.txt": 6, "b.txt": 6}
    assert files.fetch("b.txt", 3).tobytes() == b"\xc3\xa9\xff"


def test_content_decides_what_is_held_out(tmp_path: Path) -> None:
    """A new file moves no other, whatever its name, and copies stay together."""
    files = text_files(tmp_path, 60)
    before = {
        part: {one.name for one in found}
        for part, found in split_files(files, None, None, (0.2, 0.2))._asdict().items()
    }
    assert all(4 <= len(before[part]) <= 20 for part in ("valid", "test"))
    assert sum(map(len, before.values())) == 60
    held = min(before["test"])
    (tmp_path / "0" / "copy.txt").write_bytes((tmp_path / held).read_bytes())
    after = split_files(text_files(tmp_path, 62), None, None, (0.2, 0.2))
    for part, found in after._asdict().items():
        assert before[part] <= {one.name for one in found}
    assert "0/copy.txt" in {one.name for one in after.test}


def test_three_files_have_one_of_each(tmp_path: Path) -> None:
    split = split_files(text_files(tmp_path, 3), None, None, (0.05, 0.05))
    assert [len(part) for part in split] == [1, 1, 1]


def test_named_files_and_folders_are_held_out(tmp_path: Path) -> None:
    split = split_files(text_files(tmp_path, 23), ["2"], ["0/3.txt"], (0.05, 0.05))
    assert [one.name for one in split.valid] == ["2/20.txt", "2/21.txt", "2/22.txt"]
    assert [one.name for one in split.test] == ["0/3.txt"]
    assert len(split.train) == 19


def test_end_of_single_file_is_held_out(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x" * 200)
    split = split_files(ByteFiles(str(tmp_path / "a.txt"), OCTETS, 1), None, None, (0.1, 0.05))
    assert [tuple(part[0]) for part in split] == [("a.txt", 0, 170), ("a.txt", 170, 190), ("a.txt", 190, 200)]


@pytest.mark.parametrize(
    ("files", "alphabet", "message"),
    [
        ({}, OCTETS, "has no files; give another folder"),
        ({"a.txt": b"ab"}, MULAW, "has no sound (.wav, .flac, .ogg, .aiff, .aif); give another folder"),
        ({"a.wav": b"ab", "b": b"ab"}, OCTETS, "a.wav: is sound; set data.alphabet=mulaw"),
        ({"a.bin": b"ab\0"}, OCTETS, "a.bin: byte 3 is 0, which no text has; give text"),
        ({"a.txt": b"ab", "b.txt": b"c"}, OCTETS, "b.txt has no two bytes; remove it"),
    ],
)
def test_unusable_files_are_named_in_one_line(
    tmp_path: Path, files: dict[str, bytes], alphabet: object, message: str
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as error:
        ByteFiles(str(tmp_path), alphabet, 16_000)  # type: ignore[arg-type]
    assert str(error.value).endswith(message)
    assert "\n" not in str(error.value)


def test_names_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    files = text_files(tmp_path, 4)
    with pytest.raises(UserError, match=r"^data\.valid: "):
        split_files(files, ["9"], None, (0.1, 0.1))
    with pytest.raises(UserError, match=r"^data\.test: 0/1\.txt is in data\.valid too; name it in one"):
        split_files(files, ["0/1.txt"], ["0/1.txt"], (0.1, 0.1))
    with pytest.raises(UserError, match=r"^data\.path: all 4 files are held out; name fewer"):
        split_files(files, ["0"], None, (0.1, 0.1))
    with pytest.raises(UserError, match=r"^data\.path: there is no .*gone; give a file or a folder$"):
        ByteFiles(str(tmp_path / "gone"), OCTETS, 16_000)


@pytest.mark.parametrize(("said", "cut"), [(None, True), (None, False), (0xFFFFFFFF, False)])
def test_sound_that_was_cut_is_refused(said: int | None, cut: bool, tmp_path: Path) -> None:
    """Who writes into a pipe can't know the size, and says the largest."""
    pytest.importorskip("soundfile")
    path = tmp_path / "a.wav"
    write_sound(path, np.arange(1, 201, dtype=np.uint8), 8000)
    data = bytearray(path.read_bytes())
    if said is not None:
        data[40:44] = said.to_bytes(4, "little")
    path.write_bytes(data[:-80] if cut else data)
    if cut:
        with pytest.raises(UserError, match=r"a\.wav: is cut: its header says 400 .* \(got 320\); use"):
            read_sound(path, 8000)
    else:
        assert read_sound(path, 8000).size == 200
