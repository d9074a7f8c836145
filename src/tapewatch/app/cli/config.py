"""`tapewatch config`: write, check and show settings."""

import os
import pathlib
from typing import Any

import click
import msgspec
from msgspec import Struct

from tapewatch.app import registry, settings_text
from tapewatch.app.cli import output
from tapewatch.app.config import PROJECT_FILE, SECTIONS, everything
from tapewatch.app.config_file import read_file
from tapewatch.model.errors import ConfigError


@click.group()
def config() -> None:
    """Settings: write a file, check it, show what holds and why."""


@config.command()
@click.option("-o", "--output", "path", default=PROJECT_FILE, show_default=True)
@click.option("--force", is_flag=True, help="Replace a file that exists.")
def init(*, path: str, force: bool) -> None:
    """Write a file with every setting, its default and its meaning."""
    file = pathlib.Path(path)
    flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if force else os.O_EXCL)
    text = settings_text.template()
    try:
        with open(os.open(file, flags, 0o644), "w", encoding="utf-8") as out:  # noqa: PTH123  Path cannot refuse an existing file
            out.write(text)
    except FileExistsError as error:
        raise ConfigError(f"{file} exists; replace it with --force") from error
    except OSError as error:
        raise ConfigError(f"cannot write {file}: {error.strerror}") from error
    output.current().say(f"{file} written. Check it with: tapewatch config check")


@config.command()
@click.argument("file", required=False, type=click.Path(path_type=pathlib.Path))
def check(*, file: pathlib.Path | None) -> None:
    """Say what is wrong with the settings (exit code 2), or that nothing is."""
    shell = output.current()
    if file is not None:
        read_file(file)  # named on purpose: it must exist
        shell.config = file
    loaded = shell.load()
    for detector in loaded.config.detectors:
        for warning in getattr(detector, "warnings", tuple)():
            shell.say(f"warning: detector.{detector.name}: {warning}.")
    shell.say(f"Settings are fine: {', '.join(loaded.files) or 'defaults'}.")


@config.command()
@click.option("--origin", is_flag=True, help="Say where each value comes from.")
@output.JSON
def show(*, origin: bool, as_json: bool) -> None:
    """Show every setting that holds, as TOML. Passwords in addresses are hidden."""
    shell = output.current()
    loaded = shell.load()
    plain = settings_text.shown(everything(loaded.config))
    if as_json:
        origins: dict[str, Any] = {"origins": loaded.origins} if origin else {}
        shell.put(output.json_line("config", settings=plain, files=loaded.files, **origins))
        return
    shell.put(settings_text.toml(plain, loaded.origins if origin else None))


@config.command()
def schema() -> None:
    """JSON Schema of the settings, for editors."""
    tables: list[tuple[str, type[Struct], Struct]] = [
        (name, kind, kind()) for name, kind in SECTIONS.items()
    ]
    for group in registry.GROUPS:
        usable = [p.name for p in registry.plugins() if p.kind == group and not p.trouble]
        named = [(name, registry.load(group, name) | None, None) for name in usable]
        table = msgspec.defstruct(
            group.capitalize(), named, forbid_unknown_fields=True, frozen=True
        )
        tables.append((group, table, table()))
    root = msgspec.defstruct("Settings", tables, forbid_unknown_fields=True, kw_only=True)
    text = msgspec.json.encode(msgspec.json.schema(root))
    output.current().put(msgspec.json.format(text, indent=2).decode())
