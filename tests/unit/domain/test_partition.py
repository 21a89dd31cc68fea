from collections import deque

from tests.unit.domain.support import (
    BUSY,
    HOUR,
    NOT_RUN,
    NOTHING,
    POLICY,
    REFUSED,
    SECOND,
    START,
    UNKNOWN,
    WITHHELD,
    Driver,
    gave,
    invalid,
    request,
)
from worker.domain.commit import Commit, Position
from worker.domain.entry import Entry, State
from worker.domain.outcome import DeadLetterReason
from worker.domain.partition import MOST_PARAMETER_BYTES, Acceptance, Partition
from worker.domain.policy import Policy
from worker.domain.request import Record
from worker.kafka import ledger


def test_nothing_is_asked_before_its_creating_is_committed() -> None:
    driver = Driver()
    driver.accept(request())
    driver.now += HOUR
    assert driver.due() == []
    commit = driver.partition.take(driver.now)
    assert commit is not None
    assert [entry.state for entry in commit.entries] == [State.CREATING]
    assert driver.due() == []
    driver.partition.committed(commit, driver.now)
    assert [entry.request.message_id for entry in driver.due()] == ["m-1"]


def test_an_entry_is_given_once_until_it_is_answered() -> None:
    driver = Driver()
    entry = driver.creating(request())
    assert driver.due() == []
    driver.answer(entry, NOT_RUN)
    driver.now += HOUR
    assert driver.due() == [entry]
    assert driver.due() == []


def test_a_request_goes_through_created_to_completed() -> None:
    driver = Driver()
    entry = driver.pending(request())
    assert driver.told() == [("m-1", "created", None)]
    (asked,) = driver.wait_for_due()
    driver.answer(asked, gave(entry, "COMPLETED"))
    driver.commit()
    assert driver.told() == [("m-1", "created", None), ("m-1", "completed", None)]
    assert driver.partition.backlog == len(driver.partition.lanes) == 0


def test_an_operation_that_is_final_at_once_gives_both_outcomes_in_one_commit() -> None:
    driver = Driver()
    entry = driver.creating(request())
    driver.answer(entry, gave(entry, "COMPLETED"))
    commit = driver.commit()
    assert commit is not None
    assert [outcome.type.value for outcome in commit.outcomes] == ["created", "completed"]
    assert commit.entries == []
    assert [ended.message_id for ended in commit.ended] == ["m-1"]


def test_what_the_terminal_says_decides_the_reason() -> None:
    for status, reason in (("FAILED", "terminal_failed"), ("TIMEOUT", "terminal_timeout")):
        driver = Driver()
        entry = driver.pending(request())
        driver.wait_for_due()
        driver.answer(entry, gave(entry, status))
        driver.commit()
        assert driver.told()[-1] == ("m-1", "failed", reason)


def test_a_lane_has_one_operation_at_a_time_in_the_order_of_its_requests() -> None:
    driver = Driver()
    for offset in range(3):
        driver.accept(request(f"m-{offset}", offset=offset))
    driver.accept(request("other", "P1-T2", offset=3))
    driver.commit()
    started = []
    while asks := driver.due() or (driver.partition.backlog and driver.wait_for_due()) or []:
        for entry in asks:
            if entry.state is State.CREATING:
                started.append(entry.request.message_id)
            driver.answer(entry, gave(entry, "PENDING" if entry.state is State.CREATING else "COMPLETED"))
        driver.commit()
    assert [message_id for message_id in started if message_id != "other"] == ["m-0", "m-1", "m-2"]


def test_the_commit_that_finishes_a_request_begins_the_next_and_only_then_it_is_asked() -> None:
    driver = Driver()
    first = driver.pending(request("m-0"))
    driver.accept(request("m-1", offset=1))
    driver.commit()
    driver.wait_for_due()
    driver.answer(first, gave(first, "COMPLETED"))
    commit = driver.partition.take(driver.now)
    assert commit is not None
    assert [o.message_id for o in commit.outcomes] == ["m-0"]
    assert [(e.request.message_id, e.state) for e in commit.creating] == [("m-1", State.CREATING)]
    assert driver.due() == []
    driver.partition.committed(commit, driver.now)
    assert [entry.request.message_id for entry in driver.due()] == ["m-1"]


def test_a_request_that_joins_while_its_queued_commit_is_in_flight_is_not_asked_too_early() -> None:
    driver = Driver()
    head = driver.pending(request("m-0"))
    driver.wait_for_due()
    driver.accept(request("m-1", offset=1))
    in_flight = driver.partition.take(driver.now)  # writes m-1 as QUEUED
    assert in_flight is not None
    driver.answer(head, gave(head, "COMPLETED"))  # makes m-1 CREATING, which that commit does not hold
    driver.partition.committed(in_flight, driver.now)
    assert driver.due() == []
    driver.commit()
    assert [entry.request.message_id for entry in driver.due()] == ["m-1"]


def test_a_refusal_is_rejected_when_it_certainly_did_not_run() -> None:
    driver = Driver()
    driver.answer(driver.creating(request()), REFUSED)
    driver.commit()
    assert driver.told() == [("m-1", "failed", "rejected")]
    failure = driver.outcomes[0].failure
    assert failure is not None
    assert (failure.http_status, failure.code, failure.message) == (404, "NOT_FOUND", "no such terminal")


def test_one_unknown_answer_turns_every_later_refusal_and_expiry_into_unconfirmed() -> None:
    for later in (REFUSED, BUSY, NOT_RUN, UNKNOWN):
        driver = Driver()
        entry = driver.creating(request(expires_at=START + HOUR))
        driver.answer(entry, UNKNOWN)
        while driver.partition.backlog:
            for again in driver.wait_for_due():
                driver.answer(again, later)
            driver.commit()
        assert driver.told() == [("m-1", "failed", "unconfirmed")], later


def test_an_operation_from_the_api_ends_the_doubt() -> None:
    driver = Driver()
    entry = driver.creating(request())
    driver.answer(entry, UNKNOWN)
    driver.wait_for_due()
    driver.answer(entry, gave(entry, "FAILED"))
    driver.commit()
    assert driver.told() == [("m-1", "created", None), ("m-1", "failed", "terminal_failed")]


def test_a_create_that_never_ran_expires_and_is_not_sent_at_its_expiry() -> None:
    driver = Driver()
    entry = driver.creating(request(expires_at=START + 10 * SECOND))
    assert driver.partition.may_create(entry, START + 10 * SECOND - 1)
    assert not driver.partition.may_create(entry, START + 10 * SECOND)
    while driver.partition.backlog:
        driver.answer(entry, BUSY)
        driver.wait_for_due()
    assert driver.told() == [("m-1", "failed", "expired")]
    assert driver.now == START + 10 * SECOND


def test_a_request_that_waits_in_its_lane_expires_at_its_time() -> None:
    driver = Driver()
    driver.pending(request("m-0"))
    driver.accept(request("m-1", offset=1, expires_at=START + SECOND))
    driver.commit()
    driver.now = START + SECOND
    driver.due()
    driver.commit()
    assert ("m-1", "failed", "expired") in driver.told()
    assert driver.partition.backlog == 1


def test_the_create_timeout_ends_in_expired_or_unconfirmed() -> None:
    for answer, reason in ((NOT_RUN, "expired"), (UNKNOWN, "unconfirmed")):
        driver = Driver()
        entry = driver.creating(request())
        while driver.partition.backlog:
            driver.answer(entry, answer)
            driver.wait_for_due()
        assert driver.told() == [("m-1", "failed", reason)]
        assert driver.now == START + POLICY.create_timeout


def test_no_create_is_sent_with_a_key_older_than_the_idempotency_window() -> None:
    driver = Driver(Policy(create_timeout=48 * HOUR, idempotency_window=24 * HOUR))
    entry = driver.creating(request())
    assert driver.partition.may_create(entry, START + 24 * HOUR - 1)
    assert not driver.partition.may_create(entry, START + 24 * HOUR)


def test_no_final_status_is_unconfirmed_only_after_a_poll_was_answered() -> None:
    driver = Driver()
    entry = driver.pending(request())
    driver.now += 2 * POLICY.completion_timeout
    driver.due()
    driver.answer(entry, UNKNOWN)
    driver.commit()
    assert driver.told() == [("m-1", "created", None)]
    driver.wait_for_due()
    driver.answer(entry, NOTHING)
    driver.commit()
    assert driver.told()[-1] == ("m-1", "failed", "unconfirmed")


def test_an_answer_that_lay_unread_past_the_deadline_gives_nothing_up() -> None:
    driver = Driver()
    entry = driver.pending(request())
    driver.wait_for_due()
    driver.now += 2 * POLICY.completion_timeout  # as a process that was frozen sees it
    driver.answer(entry, gave(entry))
    driver.commit()
    assert driver.told() == [("m-1", "created", None)]
    driver.wait_for_due()
    driver.answer(entry, gave(entry, "COMPLETED"))
    driver.commit()
    assert driver.told()[-1] == ("m-1", "completed", None)


def test_polls_grow_to_their_longest_delay() -> None:
    driver = Driver()
    entry = driver.pending(request())
    waits = []
    for _ in range(8):
        before = driver.now
        driver.wait_for_due()
        waits.append(driver.now - before)
        driver.answer(entry, gave(entry))
    assert waits == sorted(waits)
    assert waits[0] == POLICY.poll_initial_delay // 2  # the rest of each delay is jitter, none here
    assert waits[-1] == POLICY.poll_max_delay // 2


def test_retry_after_is_honoured() -> None:
    driver = Driver()
    entry = driver.creating(request())
    driver.answer(entry, type(NOT_RUN)(NOT_RUN.verdict, retry_after=90 * SECOND))
    assert driver.partition.next_due == START + 90 * SECOND


def test_after_a_retry_after_of_nothing_the_next_is_as_far_away_as_without() -> None:
    driver = Driver()
    entry = driver.creating(request())
    waits = []
    for _ in range(3):
        before = driver.now
        driver.answer(entry, type(NOT_RUN)(NOT_RUN.verdict, retry_after=0))
        driver.wait_for_due()
        waits.append(driver.now - before)
    assert waits == [POLICY.back_off(times, 0.0) for times in range(3)]


def test_a_withheld_create_is_tried_again_soon_and_counts_as_no_attempt() -> None:
    driver = Driver()
    entry = driver.creating(request())
    for _ in range(10):
        driver.answer(entry, WITHHELD)
        driver.wait_for_due()
    assert driver.now <= START + 10 * POLICY.retry_initial_delay
    assert entry.asked == 0
    assert not entry.possibly_run


def test_a_repeat_is_a_duplicate_while_unfinished_and_after() -> None:
    driver = Driver()
    entry = driver.creating(request())
    assert driver.accept(request(offset=1)) is Acceptance.DUPLICATE
    driver.answer(entry, REFUSED)
    driver.commit()
    assert driver.accept(request(offset=2)) is Acceptance.DUPLICATE
    driver.commit()
    assert driver.told() == [("m-1", "failed", "rejected")]


def test_a_used_message_id_with_another_content_is_a_dead_letter_and_nothing_else() -> None:
    driver = Driver()
    driver.creating(request())
    assert driver.accept(request(terminal_id="P1-T2", offset=1)) is Acceptance.REUSED
    assert driver.accept(invalid(offset=2)) is Acceptance.REUSED
    commit = driver.commit()
    assert commit is not None
    assert [letter.reason for letter in commit.dead_letters] == [DeadLetterReason.MESSAGE_ID_REUSED] * 2
    assert commit.outcomes == []
    assert driver.partition.backlog == 1


def test_an_invalid_request_gets_a_dead_letter_and_its_outcome_when_it_has_an_id() -> None:
    driver = Driver()
    assert driver.accept(invalid("m-1")) is Acceptance.INVALID
    assert driver.accept(invalid(None, offset=1)) is Acceptance.INVALID
    assert driver.accept(invalid("m-1", offset=2)) is Acceptance.DUPLICATE
    commit = driver.commit()
    assert commit is not None
    assert len(commit.dead_letters) == 2
    assert driver.told() == [("m-1", "failed", "invalid_request")]
    assert commit.position.offset == 3


def test_a_finished_id_is_forgotten_after_the_dedupe_window_with_a_tombstone() -> None:
    driver = Driver()
    driver.answer(driver.creating(request()), REFUSED)
    driver.commit()
    driver.now += POLICY.dedupe_window
    driver.commit(prove=True)
    assert driver.accept(request(offset=1)) is Acceptance.DUPLICATE
    driver.now += 1
    commit = driver.commit(prove=True)
    assert commit is not None
    assert commit.forgotten == [request().key]
    assert driver.accept(request(offset=2)) is Acceptance.ACCEPTED


def test_a_finished_id_is_not_known_past_its_window_though_nothing_was_committed_since() -> None:
    driver = Driver()
    driver.answer(driver.creating(request()), REFUSED)
    driver.commit()
    driver.now += POLICY.dedupe_window
    assert driver.accept(request(offset=1)) is Acceptance.DUPLICATE
    driver.now += 1
    assert driver.accept(request(offset=2)) is Acceptance.ACCEPTED


def test_the_record_of_an_id_that_came_again_gets_no_tombstone_of_the_first() -> None:
    driver = Driver()
    driver.answer(driver.creating(request()), REFUSED)
    driver.commit()
    driver.now += POLICY.dedupe_window + 1
    driver.accept(request(offset=1))
    commit = driver.commit(prove=True)
    assert commit is not None
    assert (commit.forgotten, [entry.request.offset for entry in commit.entries]) == ([], [1])


def test_the_position_is_written_even_when_nothing_else_is() -> None:
    driver = Driver()
    driver.creating(request())
    driver.accept(request(offset=1))
    commit = driver.commit()
    assert commit is not None
    assert (commit.position.offset, commit.position.last_offset, commit.position.last_timestamp) == (2, 1, START)
    assert driver.commit() is None
    assert driver.commit(prove=True) is not None


def test_the_position_tells_how_many_entries_the_ledger_holds_with_it() -> None:
    driver = Driver()
    first = driver.creating(request())
    driver.accept(request("m-2", offset=1))
    driver.accept(invalid("m-3", offset=2))
    commit = driver.commit()
    assert commit is not None
    assert commit.position.unfinished == 2
    driver.partition.answered(first, REFUSED, driver.now)
    commit = driver.commit()
    assert commit is not None
    assert commit.position.unfinished == 1


def test_a_full_partition_says_so_until_something_finishes() -> None:
    driver = Driver(Policy(backlog_limit=2))
    first = driver.creating(request("m-0"))
    full = [driver.partition.full]
    driver.accept(request("m-1", offset=1))
    full.append(driver.partition.full)
    driver.answer(first, REFUSED)
    full.append(driver.partition.full)
    assert full == [False, True, False]


def test_parameters_fill_a_partition_however_few_requests_have_them() -> None:
    driver = Driver()
    half = b"x" * (MOST_PARAMETER_BYTES // 2)
    first = driver.creating(request("m-0")._replace(parameters=half))
    full = [driver.partition.full]
    driver.accept(request("m-1", offset=1)._replace(parameters=half))
    full.append(driver.partition.full)
    driver.answer(first, REFUSED)
    full.append(driver.partition.full)
    assert full == [False, True, False]


def test_the_figures_follow_the_entries_through_their_states() -> None:
    def figures(partition: Partition) -> tuple[int, int, int, int, int | None]:
        return (
            len(partition.lanes),
            partition.queued,
            partition.creating,
            partition.pending,
            partition.oldest_pending_at,
        )

    driver = Driver()
    first = driver.pending(request("m-0"))
    driver.now += 1
    second = driver.pending(request("m-1", "P1-T2", offset=1))
    driver.accept(request("m-2", offset=2))
    driver.accept(request("m-3", "P1-T3", offset=3))
    assert figures(driver.partition) == (3, 1, 1, 2, START)
    assert figures(_restored(driver, *driver.partition._entries.values()).partition) == (3, 1, 1, 2, START)
    driver.commit()
    for entry in (first, second):
        driver.answer(entry, gave(entry, "COMPLETED"))
    assert figures(driver.partition) == (2, 0, 2, 0, None)


def test_a_far_expiry_does_not_keep_finished_entries_in_memory() -> None:
    driver = Driver(Policy(backlog_limit=10_000))
    for offset in range(3_000):
        entry = driver.creating(request(f"m-{offset}", offset=offset, expires_at=START + 1_000 * HOUR))
        driver.answer(entry, REFUSED)
    driver.commit()
    assert len(driver.partition._timers._heap) <= 1_001


def test_a_thousand_expired_requests_of_one_lane_end_in_more_than_one_step() -> None:
    """All of them in the commit of the head before them would be one of thousands, and hold the loop for as long."""
    driver = Driver(Policy(backlog_limit=10_000))
    first = driver.creating(request("head"))
    for offset in range(1, 3_000):
        driver.accept(request(f"m-{offset}", offset=offset, expires_at=START + SECOND))
    driver.accept(request("last", offset=3_000))
    driver.now += SECOND
    driver.answer(first, REFUSED)
    commit = driver.commit()
    assert commit is not None
    assert len(commit.outcomes) == 1
    assert [(head.begun_at, behind) for head, behind in driver.partition.lanes.oldest(1)] == [(START, 2_999)]
    assert [driver.due() for _ in range(3)] == [[], [], []]
    driver.commit()
    (last,) = driver.due()
    assert (last.request.message_id, driver.partition.backlog) == ("last", 1)
    assert {told[2] for told in driver.told()[1:]} == {"expired"}


def _restored(driver: Driver, *entries: Entry) -> Driver:
    """What the next owner sees of these entries, through the ledger's own records."""
    replay = ledger.Replay(group="g", topic="t")
    commit = Commit(Position(9, 8, START, driver.now), entries=list(entries))
    for key, value in ledger.encode(commit, group="g", topic="t"):
        replay.add(key, value)
    deque(replay.decode(), 0)
    assert replay.position is not None
    partition = Partition(POLICY, lambda: 0.0, replay.position)
    deque(partition.restore(replay.entries, replay.finished, driver.now), 0)
    next_owner = Driver(partition=partition)
    next_owner.now = driver.now
    return next_owner


def test_a_lane_is_restored_in_the_order_of_its_requests_and_not_in_that_of_the_ledger() -> None:
    driver = Driver()
    pending = driver.creating(request())
    driver.answer(pending, gave(pending))
    driver.commit()
    behind = [Entry(request(f"behind-{offset}", offset=offset), State.QUEUED) for offset in (3, 2, 1)]
    next_owner = _restored(driver, *behind, pending)
    ((head, _),) = next_owner.partition.lanes.oldest(2)
    assert head.request.offset == 0
    order = [next_owner.partition.lanes.leave(head)]
    while order[-1]:
        order.append(next_owner.partition.lanes.leave(order[-1]))
    assert [each.request.offset for each in order if each] == [1, 2, 3]
    assert {each.state for each in order if each} == {State.QUEUED}, "only the head may be begun"


def test_the_lane_that_waits_longest_is_found_among_thousands_that_went_on_since() -> None:
    driver, lanes = Driver(), 3_000
    for offset in range(2 * lanes):
        driver.accept(request(f"m-{offset}", f"P1-T{offset % lanes}", offset))
    driver.commit()
    driver.now += SECOND
    *others, stuck = driver.partition.due(driver.now, lanes)
    for entry in others:
        driver.answer(entry, REFUSED)
    (oldest, behind), (next_oldest, none_behind) = driver.partition.lanes.oldest(2)
    assert (oldest, behind, none_behind) == (stuck, 1, 0)
    assert next_oldest.creating_at == driver.now


def test_a_queued_entry_that_is_restored_at_the_head_of_its_lane_begins_and_none_behind_it() -> None:
    queued = [Entry(request(f"m-{offset}", "P1-T1", offset), State.QUEUED) for offset in (2, 1)]
    partition = _restored(Driver(), *queued).partition
    assert (partition.creating, partition.queued) == (1, 1)
    commit = partition.take(START)
    assert commit
    assert [entry.request.message_id for entry in commit.creating] == ["m-1"]


def test_a_restored_create_may_have_run_so_a_refusal_leaves_it_unconfirmed() -> None:
    driver = Driver()
    next_owner = _restored(driver, driver.creating(request()))
    (again,) = next_owner.due()
    next_owner.answer(again, REFUSED)
    next_owner.commit()
    assert next_owner.told() == [("m-1", "failed", "unconfirmed")]


def test_a_restored_create_past_its_timeout_is_asked_once_more_and_then_given_up() -> None:
    driver = Driver()
    entry = driver.creating(request())
    driver.now += POLICY.create_timeout + HOUR
    next_owner = _restored(driver, entry)
    (again,) = next_owner.due()
    assert next_owner.partition.may_create(again, next_owner.now)
    next_owner.answer(again, UNKNOWN)
    next_owner.due()
    next_owner.commit()
    assert next_owner.told() == [("m-1", "failed", "unconfirmed")]


def test_a_restored_create_past_its_window_or_expiry_is_not_asked_again() -> None:
    for expires_at, later in ((None, POLICY.idempotency_window), (START + SECOND, 2 * SECOND)):
        driver = Driver()
        entry = driver.creating(request(expires_at=expires_at))
        driver.now += later
        next_owner = _restored(driver, entry)
        assert next_owner.due() == []
        next_owner.commit()
        assert next_owner.told() == [("m-1", "failed", "unconfirmed")]


def test_a_restored_pending_operation_is_polled_and_never_created_again() -> None:
    driver = Driver()
    next_owner = _restored(driver, driver.pending(request()))
    (again,) = next_owner.due()
    assert (again.state, again.operation_id) == (State.PENDING, "op-1")
    next_owner.answer(again, gave(again, "COMPLETED"))
    next_owner.commit()
    assert next_owner.told() == [("m-1", "completed", None)]


def test_a_restored_lane_keeps_the_order_of_its_requests() -> None:
    driver = Driver()
    driver.creating(request("m-0", offset=0))
    for offset in (1, 2, 3):
        driver.accept(request(f"m-{offset}", offset=offset))
    in_any_order = sorted(driver.partition._entries.values(), key=lambda entry: entry.request.offset % 2)
    next_owner = _restored(driver, *in_any_order)
    started = []
    while asks := next_owner.due() or (next_owner.partition.backlog and next_owner.wait_for_due()) or []:
        for entry in asks:
            if entry.state is State.CREATING:
                started.append(entry.request.message_id)
            next_owner.answer(entry, gave(entry, "COMPLETED"))
        next_owner.commit()
    assert started == ["m-0", "m-1", "m-2", "m-3"]


def test_what_waits_for_a_commit_is_bounded_also_when_none_of_it_is_a_request() -> None:
    driver = Driver()
    for offset in range(1_000):
        driver.accept(invalid(None, offset))
    many = driver.partition.crowded
    driver.commit()
    none = driver.partition.crowded
    for offset in range(17):
        driver.partition.accept(invalid(None, offset), Record(offset, START, None, bytes(1_048_576)), driver.now)
    assert (many, none, driver.partition.crowded) == (True, False, True)


def test_what_waits_for_a_commit_is_bounded_also_when_all_of_it_came_too_late() -> None:
    driver = Driver()
    for offset in range(1_000):
        driver.accept(request(f"m-{offset}", offset=offset, expires_at=START - SECOND))
    assert driver.partition.crowded
    assert driver.due() == []
    assert (driver.partition.backlog, driver.partition.crowded) == (0, True)


def test_requests_that_expire_together_end_in_more_than_one_step() -> None:
    driver = Driver()
    driver.creating(request("m-0"))
    for offset in range(1, 10):
        driver.accept(request(f"m-{offset}", offset=offset, expires_at=START + SECOND))
    driver.now += SECOND
    assert driver.partition.due(driver.now, 4) == []
    assert driver.partition.backlog == 6
