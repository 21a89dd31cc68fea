"""The worker's pure part costs no more than its baseline says, on each of its hot paths.

A path that costs more for a good reason gets a new baseline: `python -m tests.benchmarks.hot_paths --renew`.
"""

import pytest

from tests.benchmarks.hot_paths import PATHS, VERSION, HotPath, baseline, floors, instructions

BASELINE = baseline()
# Instructions are counted: a loss of a fifth is always seen, and a smaller one too.
INSTRUCTIONS = 1.12
# Of CPU a busy machine, or another one, makes a tenth more or less: here only a greater loss, in what C does.
CPU = 1.25
TRIES = 10

pytestmark = [
    pytest.mark.skipif(not BASELINE, reason=f"no baseline for Python {VERSION}: make one with --renew"),
    pytest.mark.parametrize("name", PATHS),
]


def counted(name: str, path: HotPath) -> float:
    """Times the instructions of before."""
    return instructions(path) / BASELINE[name].instructions


def cpu(name: str, path: HotPath) -> float:
    """Times the CPU of before. Too much is measured again: noise passes, a loss stays."""
    least = float("inf")
    for _ in range(TRIES):
        least = min(least, floors(path) / BASELINE[name].floors)
        if least < CPU:
            break
    return least


def so_much_more(path: HotPath, percent: int) -> HotPath:
    return lambda count: path(count * (100 + percent) // 100)


def test_a_hot_path_executes_no_more_instructions_and_takes_no_more_cpu_than_it_did(name: str) -> None:
    assert counted(name, PATHS[name]) < INSTRUCTIONS
    assert cpu(name, PATHS[name]) < CPU


def test_a_loss_of_a_fifth_of_instructions_is_seen_and_of_half_the_cpu(name: str) -> None:
    assert counted(name, so_much_more(PATHS[name], 20)) >= INSTRUCTIONS
    assert floors(so_much_more(PATHS[name], 50)) / BASELINE[name].floors >= CPU


def test_a_gain_is_kept_by_a_new_baseline(name: str) -> None:
    """Else as much could be lost again unseen."""
    assert counted(name, PATHS[name]) > 2 - INSTRUCTIONS
