"""A Parquet file whose index of texts points to nothing is refused in one line."""

from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from dnamamba import UserError
from dnamamba.data.tables import read_table


def test_index_into_nothing_is_refused_by_file(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    table = pyarrow.table({"sequence": ["ACGT", "GGCC", "TTTT"]})
    pyarrow.parquet.write_table(table, path, compression="none")
    data = path.read_bytes()
    indices = bytes([0b100100])  # 0, 1 and 2 in two bits each
    assert data.count(indices) == 1
    path.write_bytes(data.replace(indices, bytes([0b111111])))  # 3 is beyond the three texts
    with pytest.raises(UserError, match=rf"^{path} is damaged or not a Parquet file \("):
        read_table(path, ("sequence",), (), {})
