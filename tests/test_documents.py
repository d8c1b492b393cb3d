"""JSON and YAML that a run left: read whole, or refused in a line that names the file and what to do."""

from pathlib import Path

import pytest

from dnamamba import UserError
from dnamamba.documents import JSON_BYTES, read_json, read_yaml


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": ', r"x\.json: damaged \(.*\); mend it"),
        (b"[" * 100_000, r"x\.json: damaged \(maximum recursion depth.*\); mend it"),
        (b"\xff\xfe", r"x\.json: damaged \(.*utf-8.*\); mend it"),
        (b'{"a": {"b": 1, "c": 2, "b": 3}}', r"x\.json: damaged \(the key 'b' is there twice\); mend it"),
        (b"[1]", r"x\.json: expected a JSON object \(got list\); mend it"),
        (b"1" * 5000, r"x\.json: damaged \(.*digits.*\); mend it"),
    ],
)
def test_damaged_json_is_one_line(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_json(path, "mend it")


def test_json_beyond_the_bound_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    with path.open("wb") as file:
        file.truncate(JSON_BYTES + 1)
    with pytest.raises(UserError, match="expected at most 67,108,864 bytes of JSON; mend it"):
        read_json(path, "mend it")
    with pytest.raises(UserError, match=r"y\.json: can't be read \(No such file or directory\); mend it"):
        read_json(tmp_path / "y.json", "mend it")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &a [*a]\n", r"\*a holds itself"),
        ("- 1\n", r"expected keys with values \(got list\); mend it"),
        ("? [1]\n: 2\n", r"damaged \(.*unhashable key.*\); mend it"),
        ("a: 2001-99-99\n", r"damaged \(month must be in 1\.\.12\); mend it"),
        ("!!python/object/apply:os.system [id]\n", r"damaged \(could not determine a constructor"),
    ],
)
def test_damaged_yaml_is_one_line(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=rf"x\.yaml: {message}"):
        read_yaml(path, "mend it")


def test_a_key_twice_in_yaml_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("data:\n  a: 1\ndata:\n  b: 1\n")
    with pytest.raises(UserError, match=r"x\.yaml, line 3: data is there twice, first in line 1; keep one$"):
        read_yaml(tmp_path / "x.yaml", "mend it")


def test_whole_documents_are_read(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"a": [1, null]}')
    (tmp_path / "x.yaml").write_text("a: &b {c: 1}\nd: *b\n")
    (tmp_path / "empty.yaml").write_text("")
    assert read_json(tmp_path / "x.json", "") == {"a": [1, None]}
    assert read_yaml(tmp_path / "x.yaml", "") == {"a": {"c": 1}, "d": {"c": 1}}
    assert read_yaml(tmp_path / "empty.yaml", "") == {}
