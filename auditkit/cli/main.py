"""`auditkit`: the group of all commands, and how every one of them ends.

Exit codes: 0 done, 1 `--fail-on` reached, 2 wrong use, 3 the audit could not be done, 130 stopped
by Ctrl-C. What goes wrong is one sentence on standard error; `--debug` adds the traceback.
"""

from __future__ import annotations

import sys
import traceback
import warnings
from collections.abc import Mapping, Sequence
from importlib import import_module

import click

from auditkit.cli.terminal import Terminal
from auditkit.errors import AuditkitError
from auditkit.registry import Registry

STOPPED = 130
FAILED = AuditkitError.exit_code

CORE: Mapping[str, str] = {
    "apply": "auditkit.cli.apply:apply",
    "demo": "auditkit.cli.demo:demo",
    "plugins": "auditkit.cli.plugins:plugins",
    "report": "auditkit.cli.report:report",
    "runs": "auditkit.cli.runs:runs",
}
"""auditkit's own commands and where they are; each is imported when it is asked for."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    with warnings.catch_warnings():
        if not sys.warnoptions:
            warnings.simplefilter("ignore")  # what libraries warn of is for `--debug`
        sys.exit(_code(sys.argv[1:] if arguments is None else list(arguments)))


def _code(arguments: list[str]) -> int:
    """Run a command line; the exit code."""
    terminal = Terminal()
    code: object = 0
    try:
        code = auditkit.main(arguments, prog_name="auditkit", standalone_mode=False, obj=terminal)
    except click.exceptions.Exit as end:
        code = end.exit_code
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        terminal.error("Stopped; nothing of the run was kept.")
        code = STOPPED
    except AuditkitError as error:
        code = _end(terminal, error, str(error), error.exit_code)
    except MemoryError as error:
        code = _end(terminal, error, "Memory ran out: give a smaller --batch-size.", FAILED)
    except Exception as error:  # noqa: BLE001 - whatever a user's model, data or plugin raises
        text = f"{type(error).__name__}: {error} (--debug shows where)"
        code = _end(terminal, error, text, FAILED)
    return code if isinstance(code, int) else 0


def _end(terminal: Terminal, error: BaseException, text: str, code: int) -> int:
    if terminal.debug:
        traceback.print_exception(error, file=sys.stderr)
    terminal.error(text)
    return code


class _Commands(click.Group):
    """auditkit's commands, the audits', and those of plugins; the first two kinds win by name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names: auditkit's own, then every audit, then what else plugins bring."""
        audits, others = self._of_plugins(ctx)
        return [*CORE, *sorted(audits), *sorted(others)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name; plugins are loaded only for names that are not auditkit's."""
        if cmd_name in CORE:
            module, attribute = CORE[cmd_name].split(":")
            command: click.Command = getattr(import_module(module), attribute)
            return command
        audits, others = self._of_plugins(ctx)
        return audits.get(cmd_name) or others.get(cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The audits under a heading of their own."""
        audits, others = self._of_plugins(ctx)
        core = {name: self.get_command(ctx, name) for name in CORE}
        width = formatter.width - 6 - max(map(len, [*core, *audits, *others]))
        for heading, held in (("Audits", audits), ("Commands", core), ("From plugins", others)):
            rows = [
                (name, command.get_short_help_str(width))
                for name, command in sorted(held.items())
                if command is not None
            ]
            if rows:
                with formatter.section(heading):
                    formatter.write_dl(rows)

    def _of_plugins(
        self, ctx: click.Context
    ) -> tuple[dict[str, click.Command], dict[str, click.Command]]:
        from auditkit.cli.audits import audit_command  # noqa: PLC0415 - `runs` needs none of it

        terminal, registry = ctx.find_object(Terminal) or Terminal(), registry_of(ctx)
        audits: dict[str, click.Command] = {}
        others: dict[str, click.Command] = {}
        clashes = []
        for name, audit in registry.audits.items():
            if name in CORE:
                clashes.append(f"The audit {name!r} of the plugin {registry.origin(audit)} is left "
                               "out of the commands: auditkit has one of that name.")  # fmt: skip
            else:
                audits[name] = audit_command(audit)
        for command in registry.commands():
            if command.name is None or command.name in (*CORE, *audits, *others):
                clashes.append(f"The command {command.name!r} of a plugin is left out: there is "
                               "one of that name.")  # fmt: skip
            else:
                others[command.name] = command
        terminal.warn([*registry.warnings, *clashes])
        return audits, others


def registry_of(ctx: click.Context) -> Registry:
    """The plugins of this command line, loaded when first asked for."""
    root = ctx.find_root()
    held = root.meta.get("auditkit.registry")
    if not isinstance(held, Registry):
        held = Registry(without=root.meta.get("auditkit.without", ()))
        root.meta["auditkit.registry"] = held
    return held


def _leave_out(ctx: click.Context, _option: click.Parameter, value: tuple[str, ...]) -> None:
    ctx.meta["auditkit.without"] = value


@click.group(cls=_Commands, no_args_is_help=True)
@click.option(
    "--no-plugin",
    multiple=True,
    metavar="NAME",
    is_eager=True,
    expose_value=False,
    callback=_leave_out,
    help="Leave a plugin out; may be given several times.",
)
@click.version_option(package_name="auditkit-influence", message="auditkit %(version)s")
def auditkit() -> None:
    """Audit the data behind a trained PyTorch model, through the model itself.

    SUBJECT is what is audited: package.module:name or file.py:name (an auditkit.Subject, or a
    function that returns one), a table (CSV, Parquet, NDJSON) with --label, a folder of images in
    class folders, or an array of embeddings with --embeddings and --label.
    """
