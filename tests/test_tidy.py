"""The style sheet as a test: what STYLE.md says about form, checked on every file.

Each rule is a function from one file to complaints. `BAD` holds, for every rule, a text it must
complain about, so that a rule which has gone blind fails here rather than nowhere.
"""

import ast
import collections
import pathlib
import re
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from tapewatch.app.cli.evaluate import SETS
from tapewatch.app.cli.main import COMMANDS

ROOT = pathlib.Path(__file__).resolve().parent.parent
SRC = "src/tapewatch/"

FILE_LINES = 400
FUNCTION_LINES = 50
BANNED_NAMES = {"common", "handler", "handlers", "helper", "helpers", "manager", "util", "utils"}
BROAD_EXCEPT = {  # where code of others runs, and where the last word to the user is said
    SRC + "app/cli/main.py",
    SRC + "engine/detecting.py",
    SRC + "engine/engine.py",
    SRC + "io/worker.py",
}
ENDLESS = {  # loops that end by cancellation, or as soon as chance allows
    SRC + "simulate/connection.py",
    SRC + "simulate/director.py",
    SRC + "simulate/market.py",
}


class Source(NamedTuple):
    """One tracked text file; `tree` is that of an empty module unless it is Python."""

    path: str
    text: str
    tree: ast.Module


Rule = Callable[[Source], Iterator[str]]
Function = ast.FunctionDef | ast.AsyncFunctionDef


def load(path: str, text: str) -> Source:
    return Source(path, text, ast.parse(text if path.endswith(".py") else ""))


def listed() -> list[Source]:
    """Every file that is or would be tracked; files that are not text are left out."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode()
    sources = []
    for name in sorted(set(names.split("\0")) - {""}):
        data = (ROOT / name).read_bytes() if (ROOT / name).is_file() else b"\0"
        if b"\0" not in data:
            sources.append(load(name, data.decode()))
    return sources


SOURCES = listed()
PYTHON = [source for source in SOURCES if source.path.endswith(".py")]


def in_package(source: Source) -> bool:
    return source.path.startswith(SRC)


def functions(source: Source) -> Iterator[Function]:
    for node in ast.walk(source.tree):
        if isinstance(node, Function):
            yield node


def short_file(source: Source) -> Iterator[str]:
    lines = source.text.count("\n")
    if lines > FILE_LINES and source.path.endswith(".py"):
        yield f"{lines} lines, at most {FILE_LINES}: where is the seam?"


def short_function(source: Source) -> Iterator[str]:
    for node in functions(source):
        lines = (node.end_lineno or node.lineno) - node.lineno + 1
        if lines > FUNCTION_LINES:
            yield f"line {node.lineno}: {node.name} has {lines} lines, at most {FUNCTION_LINES}"


def module_docstring(source: Source) -> Iterator[str]:
    if source.tree.body and ast.get_docstring(source.tree) is None:
        yield "no docstring: what is this module, and what is it not?"


def public_docstring(source: Source) -> Iterator[str]:
    for node in source.tree.body if in_package(source) else ():
        if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_"):
            documented = ast.get_docstring(node) is not None
            overload = any(ast.unparse(d).endswith("overload") for d in node.decorator_list)
            if not documented and not overload:
                yield f"line {node.lineno}: {node.name} is public and has no docstring"


def bounded_loop(source: Source) -> Iterator[str]:
    if not in_package(source) or source.path in ENDLESS:
        return
    for node in ast.walk(source.tree):
        if isinstance(node, ast.While) and isinstance(node.test, ast.Constant):
            yield f"line {node.lineno}: an endless loop; say what ends it in its condition"


def bounded_queue(source: Source) -> Iterator[str]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1].endswith("Queue"):
            limits = [ast.unparse(value) for value in node.args]
            limits += [ast.unparse(word.value) for word in node.keywords if word.arg == "maxsize"]
            if not limits or limits[0] == "0":
                yield f"line {node.lineno}: a queue without maxsize; take it from model/limits.py"


def telling_name(source: Source) -> Iterator[str]:
    path = pathlib.PurePosixPath(source.path)
    for word in {path.stem, path.parent.name} | set(path.stem.split("_")):
        if word in BANNED_NAMES:
            yield f'"{word}" says nothing about what is inside'


def narrow_except(source: Source) -> Iterator[str]:
    broad = {"Exception", "BaseException"}
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.ExceptHandler) or source.path in BROAD_EXCEPT:
            continue
        if isinstance(node.body[-1], ast.Raise):
            continue  # told in other words, not swallowed
        caught = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
        if any(kind is None or ast.unparse(kind) in broad for kind in caught):
            yield f"line {node.lineno}: catches everything; name what is expected"


def nothing_swallowed(source: Source) -> Iterator[str]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ExceptHandler) and in_package(source):
            rest = [part for part in node.body if not isinstance(part, ast.Pass)]
            explained = "#" in "".join(
                source.text.splitlines()[node.lineno - 1 : (node.end_lineno or node.lineno)]
            )
            if not rest and not explained:
                yield f"line {node.lineno}: an exception dropped without saying why"


def finished(source: Source) -> Iterator[str]:
    for number, line in enumerate(source.text.splitlines(), 1):
        if re.search(r"\b(?:TO" r"DO|FIX" r"ME|X" r"XX)\b", line):
            yield f"line {number}: unfinished; finish it or leave it out"


def no_place(source: Source) -> Iterator[str]:
    """Paths of one machine and addresses of one package index help nobody elsewhere."""
    paths = r"(?<![\w.~])/(?:work|root|home|Users)/\w"
    hosts = r"pypi\.org|pythonhosted\.org|--(?:extra-)?index-url|--find[-]links"
    for number, line in enumerate(source.text.splitlines(), 1):
        found = re.search(f"{paths}|{hosts}", line)
        if found:
            yield f"line {number}: {found.group()} is of one machine"


RULES: tuple[Rule, ...] = (
    short_file,
    short_function,
    module_docstring,
    public_docstring,
    bounded_loop,
    bounded_queue,
    telling_name,
    narrow_except,
    nothing_swallowed,
    finished,
    no_place,
)

BAD: tuple[tuple[Rule, str, str], ...] = (
    (short_file, "src/tapewatch/a.py", "x = 1\n" * (FILE_LINES + 1)),
    (short_function, "src/tapewatch/a.py", "def f():\n" + "    x = 1\n" * FUNCTION_LINES),
    (short_function, "tests/a.py", "async def f():\n" + "    x = 1\n" * FUNCTION_LINES),
    (module_docstring, "tests/a.py", "x = 1\n"),
    (public_docstring, "src/tapewatch/a.py", "def f():\n    return 1\n"),
    (public_docstring, "src/tapewatch/a.py", "class A:\n    x = 1\n"),
    (bounded_loop, "src/tapewatch/a.py", "while True:\n    f()\n"),
    (bounded_loop, "src/tapewatch/a.py", "while 1:\n    f()\n"),
    (bounded_queue, "src/tapewatch/a.py", "asyncio.Queue()\n"),
    (bounded_queue, "src/tapewatch/a.py", "Queue(maxsize=0)\n"),
    (telling_name, "src/tapewatch/utils.py", ""),
    (telling_name, "src/tapewatch/feed_manager.py", ""),
    (telling_name, "src/tapewatch/common/a.py", ""),
    (narrow_except, "src/tapewatch/a.py", "try:\n    f()\nexcept:\n    g()\n"),
    (
        narrow_except,
        "tests/a.py",
        "try:\n    f()\nexcept (OSError, Exception):\n    raise\n    g()\n",
    ),
    (nothing_swallowed, "src/tapewatch/a.py", "try:\n    f()\nexcept OSError:\n    pass\n"),
    (finished, "docs/a.md", "TO" + "DO: write this\n"),
    (no_place, "docs/a.md", "see /ho" + "me/me/tapewatch\n"),
    (no_place, "requirements.txt", "--extra-" + "index-url file:///x\n"),
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_file_keeps(rule: Rule) -> None:
    complaints = [f"{source.path}: {text}" for source in SOURCES for text in rule(source)]
    assert not complaints, "\n".join(complaints)


@pytest.mark.parametrize(("rule", "path", "text"), BAD, ids=lambda part: str(part)[:40])
def test_a_rule_can_complain(rule: Rule, path: str, text: str) -> None:
    assert list(rule(load(path, text)))


def test_every_rule_is_shown_to_work() -> None:
    assert {rule for rule, _, _ in BAD} == set(RULES)


def names_in(tree: ast.AST) -> set[str]:
    found = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    found |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            found |= {alias.name for alias in node.names}
    return found


def unused(constants: Source, others: list[Source]) -> set[str]:
    """Names assigned in one module that no other file mentions."""
    defined = {
        node.target.id
        for node in constants.tree.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    used = set[str]().union(*(names_in(s.tree) for s in others if s.path != constants.path))
    return defined - used


def test_every_limit_is_used() -> None:
    package = [source for source in PYTHON if in_package(source)]
    limits = next(source for source in package if source.path == SRC + "model/limits.py")
    idle = unused(limits, package)
    assert not idle
    planted = load(limits.path, limits.text + "\nNEVER: Final = 1\n")
    assert unused(planted, package) == {"NEVER"}


def dotted(path: str) -> str:
    return path.removeprefix("src/").removesuffix(".py").replace("/", ".")


def imported(sources: list[Source]) -> set[str]:
    found = set()
    for node in (node for source in sources for node in ast.walk(source.tree)):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


def declared() -> set[str]:
    """Modules that are named rather than imported: plug-ins, and commands, imported on use."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["scripts"], *project["entry-points"].values()]
    commands = {f"tapewatch.app.cli.{where.split(':')[0]}" for where, _ in COMMANDS.values()}
    sets = {f"tapewatch.app.evaluate.{name}" for name in SETS}
    return {target.split(":")[0] for group in groups for target in group.values()} | commands | sets


def unreachable(sources: list[Source]) -> list[str]:
    """Modules of the package that neither the package nor its metadata uses.

    The test kit is there for tests, ours and those of plug-in authors.
    """
    ours = [source for source in sources if in_package(source)]
    modules = {dotted(source.path) for source in ours if "__" not in source.path}
    kit = {module for module in modules if module.startswith("tapewatch.testing.")}
    return sorted(modules - declared() - imported(ours) - (kit & imported(sources)))


def test_every_module_is_reachable() -> None:
    forgotten = unreachable(PYTHON)
    assert not forgotten
    planted = [*PYTHON, load(SRC + "detect/forgotten.py", "")]
    assert unreachable(planted) == ["tapewatch.detect.forgotten"]


def doubles(names: list[str]) -> list[str]:
    return [name for name, count in collections.Counter(names).items() if count > 1]


def test_names_of_test_files_are_unique() -> None:
    """They are modules of one namespace: of two files with one name, one would not run."""
    files = [pathlib.PurePath(source.path).name for source in PYTHON]
    assert not doubles([name for name in files if name.startswith("test_")])
    assert doubles(["test_a.py", "test_b.py", "test_a.py"]) == ["test_a.py"]


def pins(text: str) -> set[str]:
    return set(re.findall(r"^[\w.-]+==[\w.]+", text, re.MULTILINE))


def test_requirements_are_pinned_by_hash_and_agree() -> None:
    run, develop = (
        (ROOT / name).read_text() for name in ("requirements.txt", "requirements-dev.txt")
    )
    assert pins(run) < pins(develop)
    for text in (run, develop):
        for entry in re.split(r"\n(?=\w)", text.strip()):
            assert "==" in entry
            assert "--hash=sha256:" in entry
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for group in (project["dependencies"], *project["optional-dependencies"].values()):
        assert all(">=" in item for item in group if not item.startswith("tapewatch"))
    assert {re.split("[>=]", item)[0] for item in project["dependencies"]} <= {
        pin.split("==")[0] for pin in pins(run)
    }
