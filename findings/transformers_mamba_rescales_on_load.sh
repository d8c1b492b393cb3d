#!/usr/bin/env bash
# transformers 5.23.0: `MambaForCausalLM.from_pretrained` changes weights that it has just read, if config.json says
# `rescale_prenorm_residual: true`. That switch belongs to the initialisation of a new model: every `out_proj` is divided by
# the square root of the number of blocks. One would expect a saved model to load as it was saved. It is divided again at each
# round of save and load, with no warning, so that logits change each time.
#
# Seen: torch 2.13.0 (CPU), transformers 5.23.0, Linux x86-64. Prints the ratio of loaded to saved weights: 0.5 with 4 blocks.
# Exit status 0 while that holds, 1 once it changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q torch==2.13.0 transformers==5.23.0
"$folder/env/bin/python" - "$folder/model" <<'PY'
import sys

import torch
from transformers import MambaConfig, MambaForCausalLM

torch.manual_seed(0)
shape = {"vocab_size": 16, "hidden_size": 8, "num_hidden_layers": 4, "state_size": 4}
name = "backbone.layers.0.mixer.out_proj.weight"
found = {}
for rescale in (False, True):
    saved = MambaForCausalLM(MambaConfig(**shape, rescale_prenorm_residual=rescale))
    saved.save_pretrained(sys.argv[1])
    loaded = MambaForCausalLM.from_pretrained(sys.argv[1])
    ratio = loaded.state_dict()[name] / saved.state_dict()[name]
    found[rescale] = round(ratio.mean().item(), 4)
    print(f"rescale_prenorm_residual={rescale}: loaded / saved = {found[rescale]}")
sys.exit(0 if found == {False: 1.0, True: 0.5} else 1)
PY
