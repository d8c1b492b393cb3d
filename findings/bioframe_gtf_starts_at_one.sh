#!/usr/bin/env bash
# bioframe 0.8.0: `read_table(..., schema="gtf")` hands out starts as they are written, counted from 1, in a column `start` that
# every operation of bioframe takes to be counted from 0, as it is in a BED. One would expect a reader with a schema to agree
# with the operations of its own package. The first base of each feature is lost, and a feature of one base has length 0.
#
# Seen: bioframe 0.8.0, pandas 3.1.1, Linux x86-64. An exon of the bases 11 to 20 (GTF) does not overlap its own first base
# (BED 10 to 11), it overlaps its last. Exit status 0 while that holds, 1 once it changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q bioframe==0.8.0 pandas==3.1.1
cd "$folder"
printf 'chr1\tmade\texon\t11\t20\t.\t+\t.\tgene_id "one";\n' > exon.gtf
printf 'chr1\t10\t11\tfirst\nchr1\t19\t20\tlast\n' > bases.bed
env/bin/python - <<'PY'
import sys

import bioframe

exon = bioframe.read_table("exon.gtf", schema="gtf")
bases = bioframe.read_table("bases.bed", schema="bed4")
found = bioframe.overlap(bases, exon, how="inner")["name"].tolist()
print(f"start {exon['start'][0]}, end {exon['end'][0]}; bases of the exon that overlap it: {found}")
sys.exit(0 if (exon["start"][0], found) == (11, ["last"]) else 1)
PY
