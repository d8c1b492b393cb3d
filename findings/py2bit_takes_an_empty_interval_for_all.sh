#!/usr/bin/env bash
# py2bit 1.0.1: `sequence(chrom, 0, 0)` and `bases(chrom, 0, 0)` are the whole chromosome, since an end of 0 stands for "not given";
# an end past the chromosome is cut without a word. One would expect an empty string (or the error that every other empty interval
# raises, such as 3 to 3), and an error for an interval that the chromosome lacks.
#
# Seen: py2bit 1.0.1, Linux x86-64, on a file of one record of 8 bases. Exit status 0 while that holds, 1 once it changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q py2bit==1.0.1
cd "$folder"
env/bin/python - <<'PY'
import struct
import sys

import py2bit

# UCSC's format: header, index of one name, then size, no runs of N, no masks, reserved, and 2 bits a base (T C A G).
packed = bytes(sum("TCAG".index(base) << (6 - 2 * place) for place, base in enumerate(four)) for four in ("TCAG", "TCAG"))
index = struct.pack("<IIII", 0x1A412743, 0, 1, 0) + b"\x01c" + struct.pack("<I", 22)
with open("c.2bit", "wb") as file:
    file.write(index + struct.pack("<IIII", 8, 0, 0, 0) + packed)

genome = py2bit.open("c.2bit")
found = [genome.sequence("c", 0, 0), genome.sequence("c", 5, 20), genome.sequence("c", 2, 5)]
print(f"0 to 0: {found[0]}; 5 to 20 of 8 bases: {found[1]}; 2 to 5: {found[2]}")
try:
    genome.sequence("c", 3, 3)
    empty = "taken"
except RuntimeError:
    empty = "an error"
print(f"3 to 3: {empty}")
sys.exit(0 if (found, empty) == (["TCAGTCAG", "CAG", "AGT"], "an error") else 1)
PY
