"""Options: those every command has, and those an audit's settings make."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, get_args, get_origin

import click
from pydantic.fields import FieldInfo

from auditkit.audit import AuditClass
from auditkit.cli.terminal import Terminal
from auditkit.declarations import SEVERAL, value_type
from auditkit.results import Given, Number

FOLDER = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(path_type=Path)


stored_in = click.option(
    "--out", type=FOLDER, default=Path("runs"), show_default=True, metavar="DIR",
    help="The folder that holds the runs.",
)  # fmt: skip
"""`--out` of the commands that read stored runs."""


@dataclass(frozen=True)
class RunOptions:
    """The options of a command that runs an audit."""

    out: Path
    seed: int
    device: str
    batch_size: int | None
    top: int
    fail_on: float | None

    @classmethod
    def of(cls, values: Mapping[str, object]) -> RunOptions:
        """The options by the names click gives them, of the types it has checked."""
        return cls(**{field.name: values[field.name] for field in fields(cls)})  # type: ignore[arg-type]


def voice_parameters() -> list[click.Parameter]:
    """`-q`, `-v` and `--debug`: how much a command says."""
    return [
        click.Option(
            list(names), is_flag=True, expose_value=False, is_eager=True, callback=_set_voice,
            help=text,
        )
        for *names, text in (
            ("-q", "--quiet", "Say only the answer, warnings and errors."),
            ("-v", "--verbose", "Say more."),
            ("--debug", "Show tracebacks and the warnings of libraries."),
        )
    ]  # fmt: skip


def with_voice(command: click.Command) -> click.Command:
    """The command with `-q`, `-v` and `--debug` added."""
    command.params += voice_parameters()
    return command


def run_options(fail_on: str) -> list[click.Parameter]:
    """The options of every command that runs an audit, beside those of its subject."""
    return [
        click.Option(
            ["--out"], type=FOLDER, default=Path("runs"), show_default=True,
            metavar="DIR", help="The folder for runs; each gets a folder of its own there.",
        ),
        click.Option(
            ["--seed"], type=click.IntRange(min=0), default=0, show_default=True,
            help="Every random choice derives from it.",
        ),
        click.Option(
            ["--device"], default="cpu", show_default=True,
            help="Where to compute, as torch names it: cpu, cuda, cuda:1, mps.",
        ),
        click.Option(
            ["--batch-size"], type=click.IntRange(min=1), default=None,
            help="Examples per forward pass; chosen by default.",
        ),
        click.Option(
            ["--fail-on"], type=click.FloatRange(0, 1), default=None, metavar="RATE",
            help=f"Exit with code 1 if this is at least RATE (0 to 1): {fail_on}.",
        ),
        click.Option(
            ["--top"], type=click.IntRange(min=1), default=200, show_default=True,
            help="How many findings the report shows with their examples.",
        ),
    ]  # fmt: skip


def subject_options() -> list[click.Parameter]:
    """How a subject is read from files."""
    return [
        click.Option(["--label"], metavar="COLUMN", help="The column that holds the labels."),
        click.Option(
            ["--id"], metavar="COLUMN", help="The column that holds the ids; default: row numbers."
        ),
        click.Option(["--text"], metavar="COLUMN", help="A column to read as free text."),
        click.Option(
            ["--drop"], metavar="COLUMN", multiple=True,
            help="A column that is no feature; may be given several times.",
        ),
        click.Option(
            ["--embeddings"], is_flag=True, help="SUBJECT holds embeddings: one vector per example."
        ),
    ]  # fmt: skip


def language_options() -> list[click.Parameter]:
    """How a language model is read from files."""
    return [
        click.Option(
            ["--model"], type=FOLDER, metavar="DIR",
            help="The local folder of the language model that was trained on SUBJECT's texts.",
        ),
        click.Option(
            ["--base"], type=FOLDER, metavar="DIR",
            help="The local folder of the model that its training began from, if not anew.",
        ),
    ]  # fmt: skip


def checkpoint_option() -> click.Parameter:
    """Further weights of a model that is read from files."""
    return click.Option(
        ["--checkpoint"], type=FOLDER, metavar="DIR", multiple=True,
        help="A local folder of the same model at another time of its training, over which scores "
        "are averaged as well; may be given several times.",
    )  # fmt: skip


def diffusion_options() -> list[click.Parameter]:
    """How a diffusion model, and what it made, are read from files."""
    return [
        click.Option(
            ["--model"], type=FOLDER, metavar="DIR",
            help="The local folder of the diffusion model that was trained on SUBJECT's images.",
        ),
        click.Option(
            ["--query", "generated"], type=FILE, metavar="PATH", multiple=True,
            help="A generated image, or a folder of them; may be given several times.",
        ),
        click.Option(
            ["--class", "condition"], metavar="NAME",
            help="The class of the generated images; default: the name of the folder they are in.",
        ),
        click.Option(
            ["--prompt", "generated_prompt"], metavar="TEXT",
            help="The prompt of the generated images.",
        ),
    ]  # fmt: skip


def setting_options(audit: AuditClass) -> list[click.Parameter]:
    """An option for each of the audit's settings: type, default and help are the setting's own."""
    declared: Mapping[str, FieldInfo] = audit.settings.model_fields
    return [_setting_option(name, info) for name, info in declared.items()]


def given_settings(audit: AuditClass, values: Mapping[str, object]) -> dict[str, Given]:
    """What the command line says of the audit's settings."""
    declared: Mapping[str, FieldInfo] = audit.settings.model_fields
    return {name: _given(values[name], info) for name, info in declared.items()}


def _given(value: object, info: FieldInfo) -> Given:
    kind, _ = value_type(info.annotation)
    if isinstance(value, tuple):
        return tuple(map(str, value))
    if get_origin(kind) is Literal:
        choices: tuple[Number, ...] = get_args(kind)
        return next((choice for choice in choices if str(choice) == str(value)), None)
    return value if isinstance(value, bool | int | float | None) else str(value)


def _setting_option(name: str, info: FieldInfo) -> click.Option:
    kind, _ = value_type(info.annotation)
    flag = "--" + name.replace("_", "-")
    default: object = info.get_default(call_default_factory=True)
    if kind is bool:
        flags = f"{flag}/--no-{flag[2:]}" if default else flag
        return click.Option([flags, name], is_flag=True, default=default, help=info.description,
                            show_default=bool(default))  # fmt: skip
    if kind == SEVERAL:
        return click.Option([flag, name], type=click.STRING, multiple=True, default=default,
                            help=f"{info.description} May be given several times.")  # fmt: skip
    return click.Option(
        [flag, name],
        type=_click_type(kind),
        default=default,
        show_default=default is not None,
        help=info.description,
    )


def _click_type(kind: object) -> click.ParamType[object]:
    if get_origin(kind) is Literal:
        return click.Choice([str(choice) for choice in get_args(kind)])
    if kind is int:
        return click.INT
    return click.FLOAT if kind is float else click.STRING


def _set_voice(ctx: click.Context, option: click.Parameter, value: bool) -> None:
    terminal = ctx.find_object(Terminal)
    if value and terminal is not None:
        setattr(terminal, str(option.name), True)
        if option.name == "debug":
            import warnings  # noqa: PLC0415

            warnings.simplefilter("default")
