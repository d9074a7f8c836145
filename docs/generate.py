"""Writes the reference pages that come from the code: `make docs`. A test checks they are current.

It states nothing itself: numbers, defaults and sentences are read from where they are used.
"""

import importlib
import importlib.metadata
import inspect
import pathlib
import re
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any, Literal, get_args, get_origin

import click
import msgspec

from tapewatch.app import config, environment, registry
from tapewatch.app.cli import main as main_module
from tapewatch.app.cli.main import COMMANDS, EPILOG
from tapewatch.detect.driftlock import LineResult
from tapewatch.model import errors, limits, outputs
from tapewatch.model.reasons import REASONS
from tapewatch.simulate.truth import Record

HERE = pathlib.Path(__file__).resolve().parent / "reference"
NOTE = "<!-- Written by docs/generate.py from the code; `make docs` renews it. -->\n\n"
GROUPS = {"tapewatch.venues": "Venues", "tapewatch.detectors": "Detectors"}
# Lines that people write programs against, and the section of each.
LINES: dict[str, type[msgspec.Struct]] = {
    "Alert": outputs.Alert,
    "Report": outputs.Report,
    "Contribution, in alerts": outputs.Contribution,
    "Data verdict, in alerts": outputs.DataVerdict,
    "Line of `tapewatch scan`": LineResult,
    "Ground truth of `tapewatch simulate --truth`": Record,
}


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines]
    return "".join(f"| {' | '.join(line)} |\n" for line in cells)


def paragraph(text: str) -> str:
    """Wrapped as the pages that people write are."""
    return textwrap.fill(text, 110, break_long_words=False, break_on_hyphens=False) + "\n\n"


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
    if value is msgspec.UNSET:
        return "absent"
    return f"`{msgspec.json.encode(value).decode()}`"


def comments(struct: type) -> dict[str, str]:
    """What the source says beside each field."""
    return dict(
        re.findall(r"^    (\w+): [^#\n]+#  ?(.+)$", inspect.getsource(struct), re.MULTILINE)
    )


def fields(struct: type) -> str:
    """A table of settings."""
    rows = [
        (f"`{field.encode_name}`", type_text(field.type), default_text(field))
        for field in msgspec.structs.fields(struct)
        if not is_struct(field.type)
    ]
    return table(("setting", "type", "default"), rows) if rows else ""


def is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def line_fields(struct: type[msgspec.Struct]) -> str:
    """A table of what stands in a line of output."""
    settings = struct.__struct_config__
    said = comments(struct)
    if struct is outputs.Alert:  # most of it is the observation that gave rise to it
        said = comments(outputs.Observation) | said
    rows = [
        (f"`{field.encode_name}`", type_text(field.type), constant(field), said.get(field.name, ""))
        for field in msgspec.structs.fields(struct)
    ]
    if settings.tag is not None:
        rows.insert(0, (f"`{settings.tag_field}`", "str", f"always `{settings.tag}`", ""))
    text = table(("field", "type", "value", "meaning"), rows)
    return text + ("\nWhat equals its default is left out.\n" if settings.omit_defaults else "")


def constant(field: msgspec.structs.FieldInfo) -> str:
    """What a line of output has where nothing else is said."""
    if field.required:
        return ""
    word = "always" if field.name in {"schema", "v", "kind"} and field.default else "default"
    return f"{word} {default_text(field)}"


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
    codes = re.findall(r"^  (\d+) +(.+)$", EPILOG, re.MULTILINE)
    rows = [
        (f"`{name}`", str(kind.exit_code), first_paragraph(kind))
        for name, kind in vars(errors).items()
        if inspect.isclass(kind) and issubclass(kind, errors.TapewatchError)
    ]
    return (
        f"# Errors and exit codes\n\n{NOTE}## Exit codes\n\n"
        + table(("exit code", "meaning"), codes)
        + "\nThe last words of a command that failed end with its exit code in brackets: `[2]`.\n"
        "\n## Errors\n\nThey are named after who must act.\n\n"
        f"```text\n{tree}\n```\n\n" + table(("error", "exit code", "meaning"), rows)
    )


def printed_schemas() -> Iterator[tuple[str, str]]:
    """Schema and command of every line that a command prints for programs."""
    for name, (where, _) in COMMANDS.items():
        module = importlib.import_module(f"tapewatch.app.cli.{where.partition(':')[0]}")
        for schema in re.findall(r'json_line\(\s*"([\w.]+)"', inspect.getsource(module)):
            yield f"`tapewatch.{schema}/1`", f"`tapewatch {name}`"


def lines_page() -> str:
    head = f"# Lines for programs\n\n{NOTE}"
    head += paragraph(
        "Standard output is data, standard error is words for people. With `--json` each line of "
        "output is one JSON object with `schema` and `v`; within one number of `v`, fields are "
        "added, never changed or removed. Times that end in `_ns` are ns since 1970-01-01 UTC."
    )
    head += paragraph(
        "`tapewatch watch --json` prints alerts. Reports are on the tape: "
        "`tapewatch session export --what alerts` takes out both."
    )
    parts = [f"## {title}\n\n{prose(kind)}{line_fields(kind)}\n" for title, kind in LINES.items()]
    rows = list(dict.fromkeys(printed_schemas()))
    others = f"## Other lines\n\n{table(('schema', 'printed by'), rows)}"
    return head + "".join(parts) + others


def plugins_page() -> str:
    parts = [f"# Plug-ins\n\n{NOTE}Found by entry point; yours are found in the same way.\n"]
    for group, named in plugins().items():
        rows = [(f"`{name}`", first_paragraph(kind)) for name, kind in named.items()]
        parts.append(f"\n## {GROUPS[group]}: `{group}`\n\n{table(('name', 'what'), rows)}")
    return "".join(parts)


def config_page() -> str:
    head = f"# Settings\n\n{NOTE}"
    head += paragraph(
        "`tapewatch config init` writes a file with the usual ones, `tapewatch config check` finds "
        "what is wrong with one, `tapewatch config show --origin` prints what holds and why. A "
        "section stands in the file as it is called here, `[detector.zscore]`; "
        "`--set detector.zscore.z_score_threshold=4` and the [environment](environment.md) say the "
        "same."
    )
    head += paragraph(
        f"Strongest first: command line, environment, `./{config.PROJECT_FILE}` (or the file of "
        f"`--config`), `{config.USER_FILE}`, defaults. Unknown names are refused. Settings that "
        'end in `_s` are seconds, and `"90s"`, `"15m"` and `"4h"` are understood. '
        "`enabled = false` switches a source or detector off."
    )
    parts = list(config.SECTIONS.items())
    for kind, group in registry.GROUPS.items():
        parts += [(f"{kind}.{name}", struct) for name, struct in plugins()[group].items()]
    return (head + "".join(section(path, kind) for path, kind in parts)).rstrip() + "\n"


def section(path: str, struct: type) -> str:
    """One section of the settings, and the sections in it."""
    inner = [field for field in msgspec.structs.fields(struct) if is_struct(field.type)]
    below = "".join(section(f"{path}.{field.name}", field.type) for field in inner)
    own = fields(struct)
    return f"## {path}\n\n{prose(struct)}{own + chr(10) if own else ''}{below}"


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
    return next(thing for thing in vars(main_module).values() if isinstance(thing, click.Group))


def cli_page() -> str:
    parts = [f"# Commands\n\n{NOTE}"]
    names = command_line().context_settings["help_option_names"]  # those below inherit them
    for path, command in commands(command_line(), "tapewatch"):
        context = click.Context(
            command,
            info_name=path,
            terminal_width=80,
            max_content_width=80,
            help_option_names=names,
        )
        command._help_option = None  # click keeps it from whoever asked first, with other names
        parts.append(f"## {path}\n\n```text\n{command.get_help(context)}\n```\n\n")
    return "".join(parts).rstrip() + "\n"


def environment_page() -> str:
    new = environment.variable_for("detector.zscore.z_score_threshold")
    known = {name: f"`{path}`" for name, (path, _) in environment.ALIASES.items()}
    known[environment.SESSION_DIR] = "`session.dir` and `session.name`, from the folder's path"
    sets = [(f"`{name}`", setting) for name, setting in sorted(known.items())]
    without = [(f"`{name}`", what) for name, what in sorted(environment.ABSENT.items())]
    return (
        f"# Environment\n\n{NOTE}"
        + paragraph(
            "Every [setting](config.md) has a variable: its path in capitals after "
            f"`{environment.PREFIX}`, with `{environment.SEPARATOR}` for each dot. `{new}=4` is "
            "`z_score_threshold = 4` in `[detector.zscore]`. Options on the command line win over "
            "the environment, the environment over files. Empty variables do not count."
        )
        + paragraph(
            "`NO_COLOR`, `FORCE_COLOR`, `TERM`, `XDG_CONFIG_HOME` and the usual proxy variables "
            "(`HTTPS_PROXY`, `NO_PROXY`) mean what they mean elsewhere."
        )
        + "## Old names\n\n"
        + paragraph(
            "Those of the Kraken session that tapewatch grew from. They go on working; each one "
            "that is set is told on standard error. Where both are set, the new name wins."
        )
        + table(("variable", "sets"), sets)
        + "\nThese belong to features that this version does not have. They do nothing but say "
        "so.\n\n" + table(("variable", "feature"), without)
    )


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
