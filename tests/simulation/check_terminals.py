"""What happens on one terminal: never two operations at once, in the order of the requests, none for strangers."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from tests.simulation.api import Execution
from tests.simulation.evidence import Evidence, Life
from tests.simulation.script import UNKNOWN_ACCOUNT


def on_terminals(evidence: Evidence, lives: Mapping[str, Sequence[Life]]) -> Iterator[str]:
    """What ended `unconfirmed` may run when it likes."""
    by_terminal: dict[str, list[Execution]] = defaultdict(list)
    for execution in evidence.executions:
        if execution.key not in lives:
            yield f"the API ran {execution.key}, which nobody requested"
        elif execution.terminal.startswith(UNKNOWN_ACCOUNT):
            yield f"the API ran {execution.key} for an account without credentials"
        elif not any(life.end and life.end.end == "unconfirmed" for life in lives[execution.key]):
            by_terminal[execution.terminal].append(execution)
    for terminal, executions in by_terminal.items():
        for earlier, later in pairwise(executions):
            if later.began < earlier.ends:
                yield f"two at once on {terminal}: {earlier.key} and {later.key}"
            if _offset(lives[later.key], later) < _offset(lives[earlier.key], earlier):
                yield f"out of order on {terminal}: {earlier.key} before {later.key}"


def _offset(lives: Sequence[Life], execution: Execution) -> int:
    """Of the request that it was run for."""
    return max(life.offset for life in lives if life.sent.at <= execution.began)
