"""The command line: one thin file a command."""

import os
import signal
import sys
from types import FrameType


def main() -> None:
    """Exit codes: 0 done, 1 failed, 2 wrong use or settings, 130 interrupted."""
    raises = signal.getsignal(signal.SIGINT)
    if raises is signal.default_int_handler:  # else whoever started us wants it ignored
        signal.signal(signal.SIGINT, _leave)
    # Here, since loading the commands takes a second, in which Ctrl-C must not end in a traceback.
    from worker.cli.commands import run_command

    try:
        signal.signal(signal.SIGINT, raises)
        sys.exit(run_command())
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        if raises is signal.default_int_handler:
            signal.signal(signal.SIGINT, _leave)


def _leave(_number: int, _frame: FrameType | None) -> None:
    os._exit(130)
