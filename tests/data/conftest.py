"""Files to read, for tests of data."""

import pytest

from tests.data.species_files import letters


@pytest.fixture
def write(tmp_path):
    """Write FASTA files by species; records by name, as text or as a number of random bases."""

    def files(**species):
        paths = {}
        for number, (name, records) in enumerate(species.items()):
            path = tmp_path / f"{name}.fa"
            texts = {
                record: content if isinstance(content, str) else letters(content, 100 * number + row)
                for row, (record, content) in enumerate(records.items())
            }
            path.write_text("".join(f">{record}\n{text}\n" for record, text in texts.items()))
            paths[name] = [path]
        return paths

    return files
