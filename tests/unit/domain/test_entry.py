from itertools import product

import pytest

from tests.unit.domain.support import request
from worker.domain.entry import TRANSITIONS, Entry, ForbiddenTransitionError, State


@pytest.mark.parametrize(("before", "after"), list(product(State, State)))
def test_an_entry_follows_the_table_of_transitions_and_nothing_else(before: State, after: State) -> None:
    entry = Entry(request(), before)
    if after in TRANSITIONS[before]:
        entry.become(after)
        assert entry.state is after
    else:
        with pytest.raises(ForbiddenTransitionError):
            entry.become(after)
        assert entry.state is before


def test_every_state_leads_to_finished_and_finished_leads_nowhere() -> None:
    assert TRANSITIONS[State.FINISHED] == ()
    assert all(State.FINISHED in TRANSITIONS[state] for state in State if state is not State.FINISHED)
