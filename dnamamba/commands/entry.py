"""One name for every command, `dnamamba <command>`; and Hydra's flags in any order with overrides."""

import signal
import sys
from difflib import get_close_matches
from importlib import import_module
from importlib.util import find_spec

from dnamamba.commands.pages import show

COMMANDS = {
    "demo": "take a tour on the package's genome, written as one HTML page",
    "pretrain": "pretrain a language model on a genome",
    "finetune": "fine-tune a model on labelled sequences, features or tracks of a genome",
    "predict": "predict with a fine-tuned model for sequences, regions or variants",
    "embed": "write embeddings of sequences, regions or bins to a file",
    "score": "score the effects of variants, or of every change of a region",
    "attribute": "attribute a prediction to the bases of a region",
    "tracks": "write how well each base is predicted, or a fine-tuned model's answer, as bigWig",
    "generate": "generate new sequence from a trained model",
    "export": "write a model as a folder of transformers, mamba_ssm or Caduceus",
    "benchmark": "run a benchmark of a model, with baselines and published numbers",
    "report": "write a finished run as one HTML page",
    "plan": "print what a pretraining would take, before it starts (finetune: mode=plan)",
    "prepare": "download a published genome, ready to train on; --list: to fetch it elsewhere",
    "info": "print versions and devices, and test the kernels",
}
WITH_VALUE = {"--config-dir", "-cd", "--config-name", "-cn", "--config-path", "-cp", "--package", "-p"}
WITH_VALUE |= {"--cfg", "-c", "--experimental-rerun"}
INFO = {"all", "config", "defaults", "defaults-tree", "plugins", "searchpath"}


def main() -> None:
    """Run the command that the first argument names: the console script `dnamamba`."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in ("--help", "-h"):
        show(_page())
        return
    if name not in COMMANDS:
        close = get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean {close[0]}?" if close else f"choose one of {', '.join(COMMANDS)}"
        print(f"dnamamba: error: no command {name!r}; {hint}", file=sys.stderr)
        sys.exit(1)
    del sys.argv[1]
    # Lightning starts the other processes of a run as `python -m <__main__'s name>` with these arguments.
    sys.modules["__main__"].__spec__ = find_spec(f"dnamamba.{name}")
    try:
        import_module(f"dnamamba.{name}").main()
    except KeyboardInterrupt:  # before the command could say more, as while torch is loaded
        print("dnamamba: stopped before the first result; nothing was written", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)


def overrides_first(arguments: list[str]) -> list[str]:
    """Sort overrides before flags: Hydra's parser refuses overrides on both sides of a flag."""
    overrides: list[str] = []
    flags: list[str] = []
    left = iter(arguments)
    waiting = next(left, None)
    while waiting is not None:
        argument, waiting = waiting, next(left, None)
        is_flag = argument.startswith("-")
        (flags if is_flag else overrides).append(argument)
        optional = argument in ("--info", "-i") and waiting in INFO
        if waiting is not None and (argument in WITH_VALUE or optional):
            flags.append(waiting)
            waiting = next(left, None)
    return [*overrides, *flags]


def _page() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {purpose}" for name, purpose in COMMANDS.items()]
    head = ["usage: dnamamba <command> [key=value ...]", "", "Commands:", *lines, ""]
    return "\n".join([*head, "`dnamamba <command> --help` shows the keys of a command."])
