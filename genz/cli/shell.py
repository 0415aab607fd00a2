"""The command itself: what it is called, and how it fails, in one line and with an exit status."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NoReturn

import click

from genz import __version__
from genz.cli.calibrate import calibrate
from genz.cli.disaggregate import disaggregate
from genz.cli.estimate import estimate
from genz.cli.figures import figures
from genz.cli.fleet import fleet
from genz.cli.footprint import footprint
from genz.cli.listing import listing
from genz.cli.requirements import requirements
from genz.cli.size import size
from genz.cli.validate import validate
from genz.cli.words import one_line
from genz.core.errors import GenzError

__all__ = ["main"]

#: Exit status of bad input, of a fault in genz, of Ctrl-C, and of a pipe that nobody reads; 1 is an answer that says no.
BAD_INPUT, FAULT, INTERRUPTED, CLOSED = 2, 70, 130, 141

_EPILOG = """\b
Exit status: 0 answered; 1 the answer is no (infeasible, does not fit); 2 bad input.
Numbers carry their unit: 500ms, 2min, 80GB, 80GiB, 400Gb/s, 3.35TB/s, 30%.
Not modelled: speculative decoding, bursts of requests, image and audio towers, training.
"""


class _Shell(click.Group):
    """A group whose every failure is one line on standard error."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,  # noqa: FBT001, FBT002
        **extra: Any,
    ) -> Any:
        """Run, and leave with an exit status."""
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        words = list(sys.argv[1:] if args is None else args) or ["--help"]
        try:
            status = super().main(
                words, prog_name or "genz", complete_var, standalone_mode=False, **extra
            )
        except click.UsageError as error:
            _leave(BAD_INPUT, _usage(error))
        except click.ClickException as error:
            _leave(BAD_INPUT, error.format_message())
        except GenzError as error:
            _leave(BAD_INPUT, str(error))
        except OSError as error:
            place = f" {error.filename}" if error.filename else ""
            _leave(BAD_INPUT, f"cannot read or write{place}: {error.strerror or error}")
        except _ClosedPipe:
            _discard_output()
            sys.exit(CLOSED)
        except (_Interrupt, click.Abort):
            _leave(INTERRUPTED, "interrupted")
        except (Exception, RecursionError) as error:  # a fault of genz: say so, without a traceback
            if "--traceback" in words:
                raise
            kind = type(error).__name__
            _leave(FAULT, f"fault in genz, {kind}: {error}; genz --traceback ... shows where")
        sys.exit(status if isinstance(status, int) else 0)

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        """Read what was typed, and print the help; a closed pipe becomes an exception that click leaves alone."""
        try:
            return super().make_context(*args, **extra)
        except BrokenPipeError:
            raise _ClosedPipe from None

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; Ctrl-C and a closed pipe become exceptions that click leaves alone."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise _Interrupt from None
        except BrokenPipeError:
            raise _ClosedPipe from None


class _Interrupt(Exception):  # noqa: N818
    """Somebody pressed Ctrl-C."""


class _ClosedPipe(Exception):  # noqa: N818
    """Nobody reads standard output any more: ``genz list models | head -1``."""


def _discard_output() -> None:
    """Send what is still to be written nowhere, so that Python says nothing about it when it ends."""
    with suppress(OSError, ValueError):  # a stream without a file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _usage(error: click.UsageError) -> str:
    text = error.format_message().strip().rstrip(".")
    text = text[:1].lower() + text[1:]
    return f"{text} (see '{error.ctx.command_path} --help')" if error.ctx else text


def _leave(status: int, message: str) -> NoReturn:
    click.echo(f"genz: {one_line(message)}", err=True)
    sys.exit(status)


@click.group(
    cls=_Shell,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="genz")
@click.option("--traceback", is_flag=True, hidden=True)
def main(*, traceback: bool) -> None:
    """Size platforms for LLM inference: which machines, how many, in which layout, at what cost."""
    del traceback


for _command in (
    size, fleet, disaggregate, footprint, estimate, requirements, figures, listing, validate, calibrate,
):  # fmt: skip
    main.add_command(_command)
