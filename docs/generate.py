"""Writes the reference pages that come from the code: `make docs`. A test checks they are current.

It states nothing itself: numbers, defaults and sentences are read from where they are used.
"""

import importlib
import importlib.metadata
import inspect
import pathlib
import re
from collections.abc import Sequence
from typing import Any, Literal, get_args, get_origin

import click
import msgspec

from tapewatch.gate.gate import Gate
from tapewatch.model import errors, limits, outputs
from tapewatch.model.reasons import REASONS

HERE = pathlib.Path(__file__).resolve().parent / "reference"
NOTE = "<!-- Written by docs/generate.py from the code; `make docs` renews it. -->\n\n"
GROUPS = {"tapewatch.venues": "Venues", "tapewatch.detectors": "Detectors"}


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines]
    return "".join(f"| {' | '.join(line)} |\n" for line in cells)


def first_paragraph(thing: object) -> str:
    return re.split(r"\n\s*\n", inspect.getdoc(thing) or "")[0].replace("\n", " ")


def plugins() -> dict[str, dict[str, Any]]:
    """Plug-ins of this distribution, by group and name."""
    points = importlib.metadata.distribution("tapewatch").entry_points
    return {
        group: {point.name: point.load() for point in sorted(points.select(group=group))}
        for group in GROUPS
    }


def type_text(kind: Any) -> str:
    """An annotation as people write it: `float (> 0)`, `"on" | "off"`."""
    schema = msgspec.json.schema(kind)
    bounds = {
        "minimum": ">=",
        "exclusiveMinimum": ">",
        "maximum": "<=",
        "exclusiveMaximum": "<",
    }
    said = [f"{sign} {schema[key]:g}" for key, sign in bounds.items() if key in schema]
    if get_origin(kind) is Literal:
        return " or ".join(f"`{value}`" for value in get_args(kind))
    plain = inspect.formatannotation(kind.__origin__ if hasattr(kind, "__metadata__") else kind)
    plain = re.sub(r"\b(?:\w+\.)+(\w+)", r"\1", plain)
    return f"{plain} ({', '.join(said)})" if said else plain


def default_text(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "required"
    value = field.default
    if value is msgspec.NODEFAULT:
        value = field.default_factory()
    return f"`{msgspec.json.encode(value).decode()}`"


def fields(struct: type) -> str:
    rows = [
        (f"`{field.encode_name}`", type_text(field.type), default_text(field))
        for field in msgspec.structs.fields(struct)
    ]
    return table(("field", "type", "default"), rows) if rows else "No fields.\n"


def prose(struct: type) -> str:
    """The docstring as Markdown; its fixed headings begin paragraphs."""
    text = inspect.getdoc(struct) or ""
    return re.sub(r"\n+(Units|Reference|False alarms|Cost):", r"\n\n**\1.**", text) + "\n\n"


def limits_page() -> str:
    pattern = r"^([A-Z_]+): Final = (.+?) +# (.+)$"
    rows = re.findall(pattern, inspect.getsource(limits), re.MULTILINE)
    values = [(f"`{name}`", f"{getattr(limits, name):,}", text) for name, _, text in rows]
    head = f"# Limits\n\n{NOTE}{first_paragraph(limits)}\n\n"
    return head + table(("limit", "value", "of what"), values)


def reasons_page() -> str:
    rows = [
        (f"`{reason}`", info.severity, info.meaning, info.action, info.user_message)
        for reason, info in REASONS.items()
    ]
    head = f"# Reasons\n\n{NOTE}Why something was said, or not said.\n\n"
    return head + table(("reason", "severity", "meaning", "what happens", "users read"), rows)


def errors_page() -> str:
    tree = (inspect.getdoc(errors) or "").split("\n\n", 1)[1]
    rows = [
        (f"`{name}`", str(kind.exit_code), first_paragraph(kind))
        for name, kind in vars(errors).items()
        if inspect.isclass(kind) and issubclass(kind, errors.TapewatchError)
    ]
    return (
        f"# Errors and exit codes\n\n{NOTE}Errors are named after who must act.\n\n"
        f"```text\n{tree}\n```\n\n"
        + table(("error", "exit code", "meaning"), rows)
        + "\nA command that did what it was asked exits with 0, also when Ctrl+C or SIGTERM ended "
        "it in order; a second Ctrl+C ends it at once, with 130.\n"
    )


def lines_page() -> str:
    head = (
        f"# Lines for programs\n\n{NOTE}With `--json` each line is one JSON object with `schema` "
        "and `v`. Fields are added, never changed or removed, within one number.\n\n"
    )
    structs = (outputs.Alert, outputs.Report, outputs.Contribution, outputs.DataVerdict)
    parts = (f"## {kind.__name__}\n\n{prose(kind)}{fields(kind)}\n" for kind in structs)
    return (head + "".join(parts)).rstrip() + "\n"


def plugins_page() -> str:
    parts = [f"# Plug-ins\n\n{NOTE}Found by entry point; yours are found in the same way.\n"]
    for group, named in plugins().items():
        rows = [(f"`{name}`", first_paragraph(kind)) for name, kind in named.items()]
        parts.append(f"\n## {GROUPS[group]}: `{group}`\n\n{table(('name', 'what'), rows)}")
    return "".join(parts)


def config_page() -> str:
    head = (
        f"# Settings\n\n{NOTE}`tapewatch config init` writes a file with all of them, "
        "`tapewatch config check` finds what is wrong with one, `tapewatch config show` prints "
        "what holds. Unknown names are refused.\n\n"
    )
    parts = [("gate", Gate)]
    for group, named in plugins().items():
        one = GROUPS[group][:-1].lower()
        parts += [(f"{one} `{name}`", kind) for name, kind in named.items()]
    pages = (f"## {title}\n\n{prose(kind)}{fields(kind)}\n" for title, kind in parts)
    return (head + "".join(pages)).rstrip() + "\n"


def commands(command: click.Command, path: str) -> list[tuple[str, click.Command]]:
    """Every command below and including one, in alphabetical order."""
    found = [(path, command)]
    if isinstance(command, click.Group):
        context = click.Context(command, info_name=path)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if below is not None and not below.hidden:
                found += commands(below, f"{path} {name}")
    return found


def command_line() -> click.Group:
    module = importlib.import_module("tapewatch.app.cli.main")
    return next(thing for thing in vars(module).values() if isinstance(thing, click.Group))


def cli_page() -> str:
    parts = [f"# Commands\n\n{NOTE}"]
    for path, command in commands(command_line(), "tapewatch"):
        context = click.Context(command, info_name=path, terminal_width=80, max_content_width=80)
        parts.append(f"## {path}\n\n```text\n{command.get_help(context)}\n```\n\n")
    return "".join(parts).rstrip() + "\n"


def environment_page() -> str:
    rows: dict[str, tuple[str, ...]] = {}
    for path, command in commands(command_line(), "tapewatch"):
        for option in command.params:
            names = [option.envvar] if isinstance(option.envvar, str) else option.envvar or ()
            for name in names:
                meaning = getattr(option, "help", None) or ""
                rows[name] = (f"`{name}`", f"`{path} {option.opts[0]}`", meaning)
    head = (
        f"# Environment\n\n{NOTE}An option on the command line wins over the environment, the "
        "environment over the settings file.\n\n"
    )
    return head + table(("variable", "same as", "meaning"), [rows[name] for name in sorted(rows)])


PAGES = {
    "cli.md": cli_page,
    "config.md": config_page,
    "environment.md": environment_page,
    "errors.md": errors_page,
    "limits.md": limits_page,
    "lines.md": lines_page,
    "plugins.md": plugins_page,
    "reasons.md": reasons_page,
}


def main() -> None:
    for name, page in PAGES.items():
        (HERE / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
