#!/usr/bin/env bash
# recall-bench 0.2.1: `evaluate(..., out=FILE)` takes the rows that it finds in FILE for its own if distance, window, trials, seed and
# protocol are the same; neither the model's name nor the background belongs to the key, though both a file and its rows say `model`.
# A second model that is given the same file gets the numbers of the first, with the line "reused", and is never called.
#
# Seen: recall-bench 0.2.1, torch 2.13.0 (CPU), Linux x86-64: a model that copies gains 6.1 nats per base, and a constant one after it
# is handed the same row. Exit status 0 while that holds, 1 once it changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q torch==2.13.0 recall-bench==0.2.1
cd "$folder"
env/bin/python - <<'PY'
import sys

import numpy as np
import recall_bench
import torch


def copies(ids):
    """Logits that bet on the base that stood 320 places before the next."""
    logits = torch.zeros(1, ids.shape[1], 4)
    logits[0, 319:] = 8.0 * torch.nn.functional.one_hot(ids[0, : ids.shape[1] - 319], 4)
    return logits


called = []


def constant(ids):
    called.append(ids.shape)
    return torch.zeros(1, ids.shape[1], 4)


text = "".join(np.random.default_rng(0).choice(list("ACGT"), 20_000))
background = recall_bench.DNABackground.from_strings([text])
gains = {}
for name, call in {"copies": copies, "constant": constant}.items():
    model = recall_bench.CallableModel(call, lambda s: ["ACGT".index(c) for c in s], name=name, max_ctx=4096, device="cpu")
    (row,) = recall_bench.evaluate(model, [64], trials=4, background=background, out="copy.json")
    gains[name] = row["copy_advantage"]
    print(f"{name}: gain {gains[name]:.3f}, row of the model {row['model']!r}")
print(f"calls of the constant model: {len(called)}")
sys.exit(0 if gains["constant"] == gains["copies"] > 1 and not called else 1)
PY
