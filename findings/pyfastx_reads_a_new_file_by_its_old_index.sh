#!/usr/bin/env bash
# pyfastx 2.3.1: once a FASTA has an index beside it (`.fxi`), the file may be replaced by a newer one of other records, and the
# old index is still believed. One would expect the index to be made anew, as samtools-like tools warn of or do. Sequences come
# under the names of the old file, and records that are new don't exist: no error, no warning.
#
# Seen: pyfastx 2.3.1, Linux x86-64. Record `a` of the old file is given the bases of the new file's `b`.
# Exit status 0 while that holds, 1 once it changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q pyfastx==2.3.1
cd "$folder"
printf '>a\nACGTACGT\n>b\nTTTTGGGG\n' > genome.fa
env/bin/python -c 'import pyfastx; pyfastx.Fasta("genome.fa")'
sleep 2 # so that the time of the new file is later by any clock
printf '>b\nCCCCCCCC\n>c\nAAAAAAAA\n' > genome.fa
env/bin/python - <<'PY'
import sys

import pyfastx

found = {record.name: record.seq for record in pyfastx.Fasta("genome.fa")}
print(f"in the file: b CCCCCCCC, c AAAAAAAA; read: {found}")
sys.exit(0 if found == {"a": "CCCCCCCC", "b": "AAAAAAAA"} else 1)
PY
