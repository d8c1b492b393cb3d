"""Labels of regions from a table of their names, such as an Excel sheet of genes and a GFF3 file of them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from dnamamba.data.regions import Regions
from dnamamba.errors import UserError


class Labels(NamedTuple):
    """Labels by the name of a region.

    Attributes:
        path: of the table, for messages.
        by_name: as written.
    """

    path: str | Path
    by_name: dict[str, str]

    def given_to(self, regions: Regions, file: str | Path) -> Regions:
        """Label the regions that have one here, leave out the others, and say how many there are.

        Args:
            regions: with names.
            file: that they are from, for messages.

        Raises:
            UserError: none has.
        """
        kept = [
            row._replace(label=self.by_name[row.name]) for row in regions.rows if row.name in self.by_name
        ]
        names = {row.name for row in regions.rows}
        if not kept:
            first = next(iter(self.by_name), "none")
            raise UserError(
                f"data.labels: no id of {self.path} names a region (got {first!r}, "
                f"and {regions.rows[0].name!r} in {file}); set data.regions.name to the attribute or column "
                "that has the ids"
            )
        notes = list(regions.notes)
        bare = len(regions.rows) - len(kept)
        if bare:
            first = next(row.name for row in regions.rows if row.name not in self.by_name)
            notes.append(f"{bare:,} regions left out, without a label in {self.path}: the first is {first!r}")
        strays = [name for name in self.by_name if name not in names]
        if strays:
            notes.append(f"{len(strays):,} labels of {self.path} have no region: the first is {strays[0]!r}")
        return regions._replace(rows=kept, notes=notes)
