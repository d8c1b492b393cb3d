"""Time and memory of Caduceus-PS compared with its authors' code on our kernels, with equal weights.

    git clone https://github.com/kuleshov-group/caduceus && git -C caduceus checkout 0060a6d
    python benchmarks/published_caduceus.py caduceus --out logs/benchmarks/published_caduceus
    python benchmarks/published_caduceus.py caduceus --device cpu --width 8 --blocks 2 --power 6

mamba_ssm's scan is CUDA that must be compiled. Where it can't be, the authors' code runs on
`dnamamba.compat`, whose scan is faster than mamba_ssm's (docs/kernels.md): what is left is what the code
around the scan costs. In the backward pass mamba_ssm computes the convolution and the step size again, which
compat keeps; `recomputed` computes whole mixers again, so that it keeps less than mamba_ssm. `--mamba-ssm` is
a checkout of state-spaces/mamba: its Triton kernel of the norm, which needs no compiler, then takes the place
of compat's. The 7.7M shape, one sequence of 2^17 bases, bf16 autocast over fp32 parameters; a step is
forward, cross-entropy of every base, backward and AdamW. First logits are compared, in fp32.
"""

import argparse
import csv
import gc
import importlib
import json
import sys
import tempfile
from collections import namedtuple
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from timing import median_of
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dnamamba import compat, load
from dnamamba.models import LanguageModel

HEADER = ["model", "length", "step_ms", "step_gib", "forward_ms", "forward_gib", "device", "torch"]


class Config:
    """What the published configuration asks of transformers' base class."""

    def __init__(self, **_: Any) -> None:
        self.output_hidden_states, self.use_return_dict, self.pad_token_id = False, True, None


class Model(nn.Module):
    """What the published model asks of transformers' base class."""

    def __init__(self, config: Config, **_: Any) -> None:
        super().__init__()
        self.config = config

    def post_init(self) -> None:
        self.tie_weights()  # type: ignore[operator]


def published(checkout: Path, mamba_ssm: Path | None) -> ModuleType:
    """Import the authors' modelling code, with stand-ins for what it imports."""
    compat.stand_in_for_mamba_ssm()
    if mamba_ssm is not None:
        use_their_norm(mamba_ssm)
    base, outputs = ModuleType("transformers"), ModuleType("transformers.modeling_outputs")
    base.__dict__.update(PretrainedConfig=Config, PreTrainedModel=Model, modeling_outputs=outputs)
    hidden = namedtuple("hidden", "last_hidden_state hidden_states")
    masked = namedtuple("masked", "loss logits hidden_states")
    outputs.__dict__.update(
        BaseModelOutputWithNoAttention=hidden, MaskedLMOutput=masked, SequenceClassifierOutput=None
    )
    # Without its __init__, which imports a tokenizer.
    package = ModuleType("caduceus")
    package.__path__ = [str(checkout / "caduceus")]
    sys.modules.update({"transformers": base, "transformers.modeling_outputs": outputs, "caduceus": package})
    return importlib.import_module("caduceus.modeling_caduceus")


def use_their_norm(checkout: Path) -> None:
    """Let the stand-in for mamba_ssm have the package's own norms, which are Triton's."""
    for name in ("utils", "ops.triton"):
        package = importlib.import_module(f"mamba_ssm.{name}") if name != "utils" else ModuleType("utils")
        package.__path__ = [str(checkout / "mamba_ssm" / name.replace(".", "/"))]
        sys.modules[f"mamba_ssm.{name}"] = package
    for name in ("mamba_ssm.ops.triton.layer_norm", "mamba_ssm.ops.triton.layernorm"):
        sys.modules.pop(name, None)
    norms = importlib.import_module("mamba_ssm.ops.triton.layer_norm")
    sys.modules["mamba_ssm.ops.triton.layernorm"] = norms


def pair(code: ModuleType, width: int, blocks: int, device: str) -> tuple[nn.Module, LanguageModel]:
    """Return the authors' model with random weights, and ours that has read its folder."""
    torch.manual_seed(0)
    settings = sys.modules["caduceus.configuration_caduceus"].CaduceusConfig(
        d_model=width,
        n_layer=blocks,
        vocab_size=12,
        rcps=True,
        complement_map={i: i for i in range(12)} | {7: 10, 8: 9, 9: 8, 10: 7},
    )
    theirs = code.CaduceusForMaskedLM(settings)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.json").write_text(json.dumps({"model_type": "caduceus"} | vars(settings)))
        kept = {name: value.detach().clone() for name, value in theirs.state_dict().items()}
        save_file(kept, Path(folder, "model.safetensors"))
        ours = load(folder)
    return theirs.to(device), ours.to(device)


def recomputed(theirs: nn.Module) -> None:
    """Let the authors' model compute each mixer again in the backward pass."""
    for part in theirs.modules():
        if isinstance(part, compat.mamba_ssm.Mamba):
            part.forward = partial(_again, part.forward)  # type: ignore[method-assign]


def _again(own: Callable[[Tensor], Tensor], x: Tensor, inference_params: None = None) -> Tensor:
    return cast(Tensor, checkpoint(own, x, use_reentrant=False))


def measure(model: nn.Module, tokens: Tensor, repeats: int) -> list[float]:
    """Return milliseconds and peak GiB of a training step, and of a forward pass without gradients."""
    device = tokens.device.type
    cast = torch.autocast("cuda", torch.bfloat16) if device == "cuda" else nullcontext()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=device == "cuda")

    def step() -> None:
        with cast:
            logits = model(tokens).logits.float()
        F.cross_entropy(logits.flatten(0, 1), tokens.flatten()).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def forward() -> None:
        with torch.no_grad(), cast:
            model(tokens)

    return [*median_of(step, device, repeats), *median_of(forward, device, repeats)]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("checkout", type=Path, help="of kuleshov-group/caduceus")
    parser.add_argument(
        "--mamba-ssm", type=Path, help="checkout of state-spaces/mamba, for its norm's kernel"
    )
    parser.add_argument("--out", type=Path, default=Path("logs/benchmarks/published_caduceus"))
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--blocks", type=int, default=16)
    parser.add_argument("--power", type=int, default=17, help="of the length")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    theirs, ours = pair(published(args.checkout, args.mamba_ssm), args.width, args.blocks, args.device)
    tokens = torch.randint(7, 11, (1, 1 << args.power), device=args.device)
    with torch.no_grad():
        short = tokens[:, :512]
        difference = (theirs(short).logits - ours(short).logits).abs().max().item()
    print(f"largest difference of logits, fp32: {difference:.2e}", flush=True)
    name = torch.cuda.get_device_name() if args.device == "cuda" else "cpu"
    with (args.out / "published_caduceus.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        for which in ("ours", "published", "published, recomputed"):
            if which == "published, recomputed":
                recomputed(theirs)
            try:
                values = [
                    round(value, 2)
                    for value in measure(ours if which == "ours" else theirs, tokens, args.repeats)
                ]
            except torch.cuda.OutOfMemoryError:
                values = ["does not fit"] * 4  # type: ignore[list-item]
            print(which, *values, flush=True)
            writer.writerow([which, tokens.shape[1], *values, name, torch.__version__])
            file.flush()
            gc.collect()
            if args.device == "cuda":
                torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
