"""Bases generated per second, compared with a transformers Llama of the same size with a KV cache.

    python benchmarks/generation.py --out logs/benchmarks/generation

First the model's single steps must agree with its parallel forward, or nothing is timed. Then, in bf16 and
with the same number of parameters, for each batch and prompt: our steps (one CUDA graph a base, drawn, with
the noise and the copy to the host in the time), and Llama's as fast as plain PyTorch makes them (a static
cache, one CUDA graph a base, the likeliest base taken). Llama's attention is timed in two ways: through the
mask of a static cache, as transformers has it (sdpa), and over the whole cache without one (unmasked),
which flash attention splits among processors; the few empty places at the end are read too. The ratio is to
the faster of the two.

Only decoding is timed: a prompt is read once and its state or cache copied to every row. Tables go to the
terminal, everything goes to OUT/generation.csv.
"""

import argparse
import csv
import statistics
import subprocess
import time
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from omegaconf import OmegaConf
from torch import Tensor

from dnamamba import LanguageModel, MambaConfig
from dnamamba.config import conf_dir
from dnamamba.inference.generation import BLOCK, SamplingLoop, captured, read_prompt
from dnamamba.inference.sampling import Sampling

HEAD = 64  # channels of a head of attention


class Row(NamedTuple):
    """One measurement."""

    model: str
    parameters: int
    batch: int
    prompt: int
    bases_per_second: float
    ms_per_base: float
    peak_gib: float


def our_model(name: str, device: torch.device) -> LanguageModel:
    settings = OmegaConf.load(conf_dir() / "model" / f"{name}.yaml")
    shape = {key: settings[key] for key in ("d_model", "n_layer", "d_state", "d_conv", "expand")}
    torch.manual_seed(0)
    return LanguageModel(MambaConfig(**shape)).to(device).eval()


def prompt_of(length: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 4, length).astype(np.uint8)


@torch.no_grad()
def require_agreement(model: LanguageModel, device: torch.device, limit: float = 1e-3) -> None:
    """Exit unless single steps have the logits of the parallel forward, both in fp32."""
    tokens = torch.tensor(prompt_of(200)[None], device=device)
    whole = model(tokens).logits
    recurrence = model.backbone.recurrence(1, torch.float32)
    steps = torch.stack([recurrence.step(tokens[:, i]) for i in range(200)], dim=1)
    worst = float((steps - whole).norm() / whole.norm())
    print(f"single steps and parallel forward, relative difference of logits: {worst:.1e}")
    if not worst < limit:
        raise SystemExit(f"single steps are off by {worst:.1e}, more than {limit:.0e}: no times are shown")


def timed(make_block: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Return the median seconds per base over blocks."""
    times = []
    for _ in range(repeats + 1):
        _wait(device)
        began = time.perf_counter()
        make_block()
        _wait(device)
        times.append((time.perf_counter() - began) / BLOCK)
    return statistics.median(times[1:])


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def _fresh(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def _peak(device: torch.device) -> float:
    return torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else float("nan")


def measure_ours(model: LanguageModel, batch: int, prompt: int, device: torch.device, repeats: int) -> Row:
    with torch.autocast(device.type, torch.bfloat16):
        read = read_prompt(model, prompt_of(prompt))
        _fresh(device)
        loop = SamplingLoop(model, batch, Sampling(), seed=0)
        loop.start([read], batch)
        seconds = timed(loop.block, device, repeats)
    return _row("dnamamba", model, batch, prompt, seconds, device)


def _row(
    name: str, model: torch.nn.Module, batch: int, prompt: int, seconds: float, device: torch.device
) -> Row:
    parameters = sum(parameter.numel() for parameter in model.parameters())
    row = Row(name, parameters, batch, prompt, batch / seconds, 1e3 * seconds, _peak(device))
    print(
        f"{name:16} {batch:4} x {prompt:>9,}  {row.bases_per_second:12,.0f} bases/s"
        f"  {row.ms_per_base:8.3f} ms a base  {row.peak_gib:7.2f} GiB",
        flush=True,
    )
    return row


def unmasked(module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Any, **options: Any) -> Any:
    """Attend to all that is in the cache; causally while a prompt is read."""
    y = F.scaled_dot_product_attention(
        query, key, value, is_causal=query.shape[2] > 1, scale=options.get("scaling")
    )
    return y.transpose(1, 2).contiguous(), None


def llama(parameters: int, width: int, blocks: int, longest: int, device: torch.device) -> Any:
    """Build a Llama with as many parameters as ours: one Transformer block per two of Mamba (the paper)."""
    from transformers import AttentionInterface, LlamaConfig, LlamaForCausalLM, logging

    logging.set_verbosity_error()
    AttentionInterface.register("unmasked", unmasked)
    layers = max(1, blocks // 2)
    outside_mlp = layers * (4 * width**2 + 2 * width) + 8 * width + width
    config = LlamaConfig(
        vocab_size=8,
        hidden_size=width,
        intermediate_size=round((parameters - outside_mlp) / (3 * layers * width)),
        num_hidden_layers=layers,
        num_attention_heads=max(1, width // HEAD),
        num_key_value_heads=max(1, width // HEAD),
        max_position_embeddings=longest,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    return LlamaForCausalLM(config).to(device, torch.bfloat16).eval()


@torch.no_grad()
def measure_llama(model: Any, how: str, batch: int, prompt: int, device: torch.device, repeats: int) -> Row:
    from transformers import DynamicCache, StaticCache

    model.set_attn_implementation("sdpa")
    read = DynamicCache(config=model.config)
    tokens = torch.tensor(prompt_of(prompt)[None], device=device).long()
    model(tokens, past_key_values=read, use_cache=True, logits_to_keep=1)
    _fresh(device)
    cache = StaticCache(config=model.config, max_cache_len=prompt + BLOCK)
    head = model.config.hidden_size // model.config.num_attention_heads
    cache.early_initialization(batch, model.config.num_key_value_heads, head, torch.bfloat16, device)
    for ours, theirs in zip(cache.layers, read.layers, strict=True):
        ours.keys[:, :, :prompt] = theirs.keys
        ours.values[:, :, :prompt] = theirs.values
    del read
    model.set_attn_implementation(how)
    last = torch.zeros(batch, 1, dtype=torch.long, device=device)

    def step() -> None:
        logits = model(last, past_key_values=cache, use_cache=True).logits
        last.copy_(logits[:, -1].argmax(-1, keepdim=True))

    def rewind() -> None:
        for layer in cache.layers:
            layer.cumulative_length.fill_(prompt)

    rewind()
    advance = step
    if device.type == "cuda":
        try:
            advance = captured(step, device)
        except RuntimeError as error:
            print(f"no CUDA graph of Llama, {how}: {str(error).partition(chr(10))[0]}")

    def block() -> None:
        rewind()
        for _ in range(BLOCK):
            advance()

    return _row(f"Llama, {how}", model, batch, prompt, timed(block, device, repeats), device)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("logs/benchmarks/generation"))
    parser.add_argument("--model", default="paper_40m7", help="a file of conf/model")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--batches", type=int, nargs="*", default=[1, 16, 128])
    parser.add_argument("--prompts", type=int, nargs="*", default=[2**11, 2**15])
    parser.add_argument("--ours-too", type=int, nargs="*", default=[2**20], help="prompts of ours alone")
    parser.add_argument("--repeats", type=int, default=5, help=f"blocks of {BLOCK} bases timed")
    options = parser.parse_args()
    device = torch.device(options.device)
    model = our_model(options.model, device)
    require_agreement(model, device)
    rows = [
        measure_ours(model, batch, prompt, device, options.repeats)
        for batch in options.batches
        for prompt in [*options.prompts, *options.ours_too]
    ]
    if find_spec("transformers") is None:
        print("transformers is not installed: no Llama to compare with")
    else:
        config = model.config
        peer = llama(rows[0].parameters, config.d_model, config.n_layer, max(options.prompts) + BLOCK, device)
        del model
        for batch in options.batches:
            for prompt in options.prompts:
                for how in ("sdpa", "unmasked"):
                    try:
                        rows.append(measure_llama(peer, how, batch, prompt, device, options.repeats))
                    except torch.cuda.OutOfMemoryError:
                        print(f"Llama, {how}: {batch} x {prompt:,} does not fit into memory", flush=True)
    for batch in options.batches:
        for prompt in options.prompts:
            speed = {
                row.model: row.bases_per_second for row in rows if (row.batch, row.prompt) == (batch, prompt)
            }
            theirs = max((value for name, value in speed.items() if name != "dnamamba"), default=None)
            if theirs is not None:
                print(f"{batch:4} x {prompt:>8,}: {speed['dnamamba'] / theirs:.1f} times Llama")
    write(options.out, rows, device)


def write(out: Path, rows: list[Row], device: torch.device) -> None:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    around = [
        torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        torch.__version__,
        version("transformers") if find_spec("transformers") else "",
        commit.stdout.strip() or "unknown",
    ]
    out.mkdir(parents=True, exist_ok=True)
    with (out / "generation.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*Row._fields, "device", "torch", "transformers", "commit"])
        writer.writerows([*row[:4], *(round(value, 4) for value in row[4:]), *around] for row in rows)
    print(f"wrote {out / 'generation.csv'}")


if __name__ == "__main__":
    main()
