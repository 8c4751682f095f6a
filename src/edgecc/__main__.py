"""The command line's entrance: the one place that turns an error into text and an exit code."""

from __future__ import annotations

import signal
import sys
import traceback

import click

from edgecc.cli import edgecc
from edgecc.errors import EdgeccError, ExitCode

INTERRUPTED = 130
TERMINATED = 143


def main() -> None:
    """Run a verb and leave with its exit code: 2 for every error, so that a CI never takes one for a broken budget."""
    # As an exception, so that what is running cleans up after itself.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    sys.exit(_exit_code())


def _exit_code() -> int:
    try:
        return int(edgecc.main(standalone_mode=False) or ExitCode.PASSED)
    except EdgeccError as error:
        _say(f"error: {error.message}")
        if error.stage:
            _say(f"stage: {error.stage}")
        if error.hint:
            _say(f"hint: {error.hint}")
    except click.ClickException as error:
        error.show()
    except (KeyboardInterrupt, click.Abort):
        _say("interrupted; what was finished is kept, and the same command goes on from there")
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
    except OSError as error:
        _say(f"error: {error}")
    except SystemExit:
        raise
    except BaseException:  # a user's exceptions need not be Exceptions
        _say(traceback.format_exc() + "error: this is a fault in edgecc; please report it with the lines above")
    return ExitCode.FAILED


def _say(text: str) -> None:
    click.echo(text, err=True)


if __name__ == "__main__":
    main()
