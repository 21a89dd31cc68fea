from tests.unit.dintero.support import Clock
from worker.dintero.circuit import FAILURES_TO_OPEN, LONGEST_PAUSE, MEMORY, Circuit


def _open(circuit: Circuit) -> None:
    for _ in range(FAILURES_TO_OPEN):
        circuit.failed(probe=False)


def _circuit(clock: Clock) -> Circuit:
    return Circuit(clock, lambda: 1.0)


def test_failures_in_a_row_open_it_and_fewer_do_not() -> None:
    circuit = _circuit(Clock())
    for _ in range(FAILURES_TO_OPEN - 1):
        circuit.failed(probe=False)
    assert circuit.wait() == 0
    circuit.failed(probe=False)
    assert circuit.state == "open"
    assert circuit.wait() == 1.0


def test_a_good_answer_between_failures_starts_the_count_afresh() -> None:
    circuit = _circuit(Clock())
    for _ in range(FAILURES_TO_OPEN * 3):
        circuit.failed(probe=False)
        circuit.succeeded()
    assert circuit.state == "closed"


def test_one_probe_goes_out_when_the_pause_is_over_and_no_second() -> None:
    clock = Clock()
    circuit = _circuit(clock)
    _open(circuit)
    clock.now += 1.0
    assert circuit.wait() == 0
    assert circuit.enter()
    assert circuit.state == "probing"
    assert circuit.wait() > 0


def test_a_good_probe_closes_it() -> None:
    clock = Clock()
    circuit = _circuit(clock)
    _open(circuit)
    clock.now += 1.0
    circuit.enter()
    circuit.succeeded()
    assert circuit.state == "closed"
    assert not circuit.enter()


def test_each_failed_probe_doubles_the_pause_up_to_the_longest() -> None:
    clock = Clock()
    circuit = _circuit(clock)
    _open(circuit)
    pauses = []
    for _ in range(7):
        pauses.append(circuit.wait())
        clock.now += circuit.wait()
        circuit.failed(probe=circuit.enter())
    assert pauses == [1, 2, 4, 8, 16, LONGEST_PAUSE, LONGEST_PAUSE]


def test_jitter_only_shortens_a_pause_and_by_a_quarter_at_most() -> None:
    circuit = Circuit(Clock(), lambda: 0.0)
    _open(circuit)
    assert circuit.wait() == 0.75


def test_a_pause_is_at_least_what_the_api_asked_for() -> None:
    circuit = _circuit(Clock())
    circuit.failed(probe=False, at_once=True, at_least=120.0)
    assert circuit.wait() == 120.0


def test_calls_that_were_out_when_it_opened_do_not_prolong_the_pause() -> None:
    circuit = _circuit(Clock())
    _open(circuit)
    _open(circuit)
    assert circuit.wait() == 1.0


def test_a_probe_that_was_not_sent_lets_another_try() -> None:
    clock = Clock()
    circuit = _circuit(clock)
    _open(circuit)
    clock.now += 1.0
    circuit.abandoned(probe=circuit.enter())
    assert circuit.wait() == 0
    assert circuit.enter()


def test_one_that_opens_again_soon_goes_on_from_its_last_pause_and_later_starts_small() -> None:
    clock = Clock()
    circuit = _circuit(clock)
    _open(circuit)
    circuit.succeeded()
    _open(circuit)
    assert circuit.wait() == 2.0
    circuit.succeeded()
    clock.now += MEMORY + 1
    _open(circuit)
    assert circuit.wait() == 1.0
