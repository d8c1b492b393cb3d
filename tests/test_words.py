"""The rules of CONTRIBUTING, "How we write", that a program can check."""

import ast
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "dnamamba"
PAGES = sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")} - {ROOT / "CHANGELOG.md"})
SETTINGS = sorted(ROOT.glob("conf/**/*.yaml"))

IDIOMS = {
    r"\bwhat came of\b": "the result of",
    r"\bgo(es|ing)? on (from|with|at|to)\b": "resume, continue",
    r"\b(?<!there )(is|are|was|were) no (multiple|number|file|folder|model|letter|gzip|FASTA|BED)": (
        "X is not a Y, or expected Y, got X"
    ),
    r"\b(is|are) none of\b": "expected one of Y, got X",
    r"\bstretch(es)?\b(?!:)": "interval",
    r"\bforesees?n?\b": "predict, estimate",
    r"\ba head in closed form\b": "a closed-form head",
    r"\bbeside\b": "compared with, or next to",
    r"\ba (vector|state|byte|number) a (base|sequence|row|region|step|record)\b": "per",
    r"\bhands? (back|on|over)\b": "pass, return",
    r"\ba must\b": "required",
    r"\btold apart\b.*\btold apart\b": "distinguish",
    r"\bof the \w+ of the \w+ of\b": "two chained 'of' at most",
}
# A first word that makes a noun phrase or a clause of a sentence that should begin with a verb.
NOT_A_VERB = re.compile(
    "(the|an?|what|how|whether|where|which|when|who|why|that|this|these|those|one|every|all|each|some|both|nothing"
    "|everything|its?|our|in|of|on|at|by|for|from|with|as|if|no|none)"
)
# Methods that torch or Lightning calls, whose arguments are explained there.
HOOKS = re.compile(r"on_\w+|setup|teardown|\w+_step|\w+_dataloader|configure_\w+|save_checkpoint|forward")


class Function(NamedTuple):
    place: str
    node: ast.FunctionDef
    text: str


@cache
def trees() -> tuple[tuple[Path, ast.Module], ...]:
    return tuple((path, ast.parse(path.read_text("utf-8"))) for path in sorted(PACKAGE.rglob("*.py")))


def prose(path: Path, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Lines of docstrings, messages and comments, not names of variables."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from enumerate(node.value.splitlines(), node.lineno)
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if found := re.search(r"(?:^|\s)#\s(.*)", line):
            yield number, found[1]


def documented(node: ast.AST, name: str = "") -> Iterator[tuple[str, ast.FunctionDef]]:
    """Public functions and methods with a docstring, without properties and functions within functions."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef):
            if not child.name.startswith("_"):
                yield from documented(child, f"{name}{child.name}.")
        elif isinstance(child, ast.FunctionDef) and not child.name.startswith("_"):
            decorators = {ast.unparse(found).rpartition(".")[2] for found in child.decorator_list}
            if ast.get_docstring(child) and not decorators & {"property", "cached_property", "setter"}:
                yield f"{name}{child.name}", child


@cache
def functions() -> tuple[Function, ...]:
    return tuple(
        Function(f"{path.relative_to(ROOT)}:{node.lineno} {name}", node, ast.get_docstring(node) or "")
        for path, tree in trees()
        for name, node in documented(tree)
    )


@cache
def bases() -> dict[str, tuple[set[str], set[str]]]:
    """Names of the methods that each class of the package documents, and of its bases."""
    found: dict[str, tuple[set[str], set[str]]] = {}
    for _, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                methods, parents = found.setdefault(node.name, (set(), set()))
                methods |= {one.name for one in node.body if isinstance(one, ast.FunctionDef)}
                parents |= {ast.unparse(base).partition("[")[0].rpartition(".")[2] for base in node.bases}
    return found


def overrides(place: str) -> bool:
    """Whether a method fills in one of a class of the package, where its arguments are explained."""
    *_, owner, method = ["", *place.rpartition(" ")[2].split(".")]
    above = list(bases().get(owner, (set(), set()))[1])
    for name in above:
        methods, parents = bases().get(name, (set(), set()))
        if method in methods:
            return True
        above += parents
    return False


def idioms_in(lines: Iterable[tuple[str, str]]) -> list[str]:
    """Name the idioms in lines, each given with its place; what stands in backquotes is code."""
    pairs = list(lines)
    text = "\n".join(re.sub(r"`[^`]*`", "", line) for _, line in pairs)
    return [
        f"{pairs[text.count(chr(10), 0, found.start())][0]}: {found[0]!r}: {better}"
        for idiom, better in IDIOMS.items()
        for found in re.finditer(idiom, text)
    ]


@pytest.mark.parametrize(
    "line", ["memory a base", "a vector a base", "12 is no multiple of 5", "the run goes on from step 3"]
)
def test_idioms_are_found_in_bad_lines(line: str) -> None:
    assert bool(idioms_in([("here", line)])) == (line != "memory a base")


def test_package_uses_no_listed_idiom() -> None:
    found = idioms_in(
        (f"{path.relative_to(ROOT)}:{number}", line)
        for path, tree in trees()
        for number, line in prose(path, tree)
    )
    assert not found, "\n".join(found)


def test_pages_and_settings_use_no_listed_idiom() -> None:
    rules = "## How we write"  # names the idioms themselves
    found = idioms_in(
        (f"{path.relative_to(ROOT)}:{number}", line)
        for path in [*PAGES, *SETTINGS]
        for number, line in enumerate(path.read_text("utf-8").partition(rules)[0].splitlines(), 1)
    )
    assert not found, "\n".join(found)


def messages() -> Iterator[tuple[str, str]]:
    """Places and texts of the package's errors of its users, a pair of braces for each value."""
    for path, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "UserError" and node.args:
                parts = getattr(node.args[0], "values", [node.args[0]])
                text = "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in parts)
                yield f"{path.relative_to(ROOT)}:{node.lineno}", text


def has_form(message: str) -> bool:
    """Whether an error that says what must be begins with a key or file, and says what it got."""
    if not re.search(r"\bmust (be|lie|have)\b", message) or message.endswith("must be given"):
        return True
    value_first = re.search(r"^[\w.]+=\{\}: must|: \{\}; .* must ", message)
    return bool(value_first or re.search(r"^[^:]+: .*\bmust\b.*\((got|here) ", message))


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("train.seed: must be at least 0 (got {})", True),
        ("{}: must be given", True),
        ("out={}: must be a file", True),
        ("train.seed must be at least 0, not {}", False),
        ("train.seed must be at least 0 (got {})", False),
        ("train.seed: must be at least 0", False),
    ],
)
def test_form_of_errors_is_judged_by_key_and_value(message: str, expected: bool) -> None:
    assert has_form(message) == expected


def test_errors_name_key_and_value_found() -> None:
    found = [f"{place}: {text}" for place, text in messages() if not has_form(text)]
    assert not found, "\n".join(found)


def is_imperative(first: str) -> bool:
    """Whether a first line may begin with an imperative, judged by the form of its first word."""
    word = first.split()[0].rstrip(",;:") if first.split() else ""
    if not re.fullmatch(r"[A-Z][a-z]+(-[a-z]+)?", word) or NOT_A_VERB.fullmatch(word.lower()):
        return False
    ending = word.lower()
    return not (ending.endswith("s") and not ending.endswith("ss")) and not ending.endswith(("ness", "tion"))


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        ("Return the loss.", True),
        ("Fine-tune a model.", True),
        ("Pass it on.", True),
        ("The loss.", False),
        ("Returns the loss.", False),
        ("[B, L] of tokens.", False),
        ("Whether it fits.", False),
    ],
)
def test_imperatives_are_told_from_noun_phrases(first: str, expected: bool) -> None:
    assert is_imperative(first) == expected


def test_first_lines_are_imperative_sentences() -> None:
    found = [
        f"{place}: {text.splitlines()[0]}"
        for place, _, text in functions()
        if not is_imperative(text) or not text.splitlines()[0].endswith((".", ":"))
    ]
    assert not found, "\n".join(found)


def arguments_of(node: ast.FunctionDef) -> list[ast.arg]:
    given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return [one for one in given if one.arg not in ("self", "cls")]


def test_functions_of_three_arguments_explain_them() -> None:
    found = []
    for place, node, text in functions():
        kernel = any(
            re.search(r"\b(jit|kernel|compiled|intrinsic)\b", ast.unparse(d)) for d in node.decorator_list
        )
        as_elsewhere = re.search(r"\b([Ss]ee|As|as in) `", text)
        if HOOKS.fullmatch(node.name) or kernel or as_elsewhere or overrides(place):
            continue
        if len(arguments_of(node)) >= 3 and "Args:" not in text:
            found.append(place)
    assert not found, "\n".join(found)


def test_functions_of_arrays_state_shapes() -> None:
    found = []
    for place, node, text in functions():
        annotations = [ast.unparse(one.annotation) for one in arguments_of(node) if one.annotation]
        takes_arrays = any(re.fullmatch(r"(np\.)?(Tensor|ndarray).*", one) for one in annotations)
        if overrides(place):
            continue
        if takes_arrays and not re.search(r"\[[^\]]*\]|[Ss]ee `|as in `|shape|scalar|elementwise", text):
            found.append(place)
    assert not found, "\n".join(found)
