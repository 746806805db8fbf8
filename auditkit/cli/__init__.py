"""The command line: a command parses, calls one library function, and says what came of it."""

from auditkit.cli.main import main

__all__ = ["main"]
