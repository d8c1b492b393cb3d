"""The genome that comes with the package: S. cerevisiae S288C, 16 chromosomes, 12,071,326 bases.

`data/yeast/PROVENANCE.md` says where it is from.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

_YEAST = Path(str(files("dnamamba.data"))) / "yeast"

YEAST_FASTA = _YEAST / "S288C.fa.gz"
# What `python -m dnamamba.pretrain` ends with: 65,984 parameters, 1.934 bits per base on chrV and on chrVI,
# of which it has seen neither.
YEAST_MODEL = _YEAST / "model"
YEAST_CODING_SEQUENCES = _YEAST / "S288C.cds.bed"

# Whole chromosomes, together 7 % of the genome.
YEAST_VALID = ("chrV",)
YEAST_TEST = ("chrVI",)
