"""Runs the command line and turns what goes wrong into one sentence and an exit code.

0 done; 2 bad input; 3 infeasible; 130 interrupted; 1 a defect of ours. With ``--json`` the error is the one document
on standard output, otherwise it is a line on standard error.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import fields
from typing import TYPE_CHECKING

from workloads.errors import ImpossibleError, InfeasibleError, InputError

if TYPE_CHECKING:
    import typer

__all__ = ["main"]


def main() -> None:
    """Run ``tiercade`` with the process's arguments and exit."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code."""
    from dse.cli.app import app

    arguments = arguments or ["--help"]
    as_json = "--json" in arguments
    try:
        return _run(app, arguments, as_json)
    except BrokenPipeError:
        # The reader went away (`tiercade ... | head`): nothing more to say, and no second failure at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _run(app: typer.Typer, arguments: list[str], as_json: bool) -> int:
    try:
        code = app(arguments, standalone_mode=False, prog_name="tiercade")
    except ImpossibleError as error:
        return _report(error, "infeasible", 3, as_json)
    except InputError as error:
        return _report(error, "input", 2, as_json)
    except InfeasibleError as error:
        return _report(error, "infeasible", 3, as_json)
    except KeyboardInterrupt:
        return _interrupted()
    except (BrokenPipeError, SystemExit):
        raise BrokenPipeError from None  # the parser exits by itself where the reader went away
    except Exception as error:
        return _other(error, as_json)
    if code == 130:  # the parser turns an interrupt inside a command into this
        return _interrupted()
    return code if isinstance(code, int) else 0


def _other(error: Exception, as_json: bool) -> int:
    """Usage errors and exits of the argument parser; anything else is our defect."""
    if type(error).__name__ == "Abort":
        return _interrupted()
    exit_code = getattr(error, "exit_code", None)
    if isinstance(exit_code, int):
        # The parser's own exceptions: Exit, UsageError and its kinds.
        format_message = getattr(error, "format_message", None)
        if format_message is None:
            return exit_code
        return _report(InputError(_usage_sentence(error, format_message())), "input", exit_code, as_json)
    if isinstance(error, OSError):
        return _report(InputError(f"{error.strerror}", file=str(error.filename or "")), "input", 2, as_json)
    if os.environ.get("TIERCADE_TRACEBACK"):
        raise error
    text = f"defect in tiercade: {type(error).__name__}: {error} (set TIERCADE_TRACEBACK=1 to see where)"
    print(text, file=sys.stderr)  # noqa: T201
    return 1


def _interrupted() -> int:
    print("interrupted", file=sys.stderr)  # noqa: T201
    return 130


def _usage_sentence(error: Exception, message: str) -> str:
    context = getattr(error, "ctx", None)
    command = getattr(context, "command_path", "tiercade") if context is not None else "tiercade"
    return f"{command}: {message.rstrip('.')} (see '{command} --help')"


def _report(error: InputError | InfeasibleError, kind: str, code: int, as_json: bool) -> int:
    if as_json:
        parts = {field.name: getattr(error, field.name) for field in fields(error)}
        known = {name: value for name, value in parts.items() if value is not None}
        print(json.dumps({"error": {"kind": kind, "message": str(error), **known}}, indent=2))  # noqa: T201
    else:
        print(f"tiercade: {error}", file=sys.stderr)  # noqa: T201
    return code
