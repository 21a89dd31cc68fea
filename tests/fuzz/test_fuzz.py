"""The corpus, hypothesis and some seconds of the coverage-guided fuzzer; every crash found becomes a corpus file."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.target import check, decoded
from worker.domain.request import Invalid, Record, Request

CORPUS = sorted((Path(__file__).parent / "corpus").iterdir())
_SECONDS = 10


@pytest.mark.parametrize("file", CORPUS, ids=lambda file: file.name)
def test_every_record_of_the_corpus_is_read_and_given_back(file: Path) -> None:
    assert isinstance(check(decoded(file.read_bytes())), Request | Invalid)


def test_the_corpus_holds_requests_of_every_shape_and_what_is_none() -> None:
    shapes = ("binary", "structured", "structured-base64", "plain-header", "plain-member", "too-deep")
    read = {file.name: type(check(decoded(file.read_bytes()))) for file in CORPUS}
    assert [read[shape] for shape in shapes] == [Request] * 5 + [Invalid]


names = st.text(max_size=20) | st.sampled_from(["ce_id", "ce_source", "message-id", "content-type", "traceparent"])
header = st.tuples(names, st.none() | st.binary(max_size=300))


@settings(deadline=None, max_examples=200)
@given(st.none() | st.binary(max_size=2_000), st.none() | st.binary(max_size=2_000), st.lists(header, max_size=100))
def test_any_key_value_and_headers_are_read_and_given_back(
    key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes | None]]
) -> None:
    assert isinstance(check(Record(7, 1_000, key, value, headers)), Request | Invalid)


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(CORPUS), st.integers(0, 2**16), st.integers(0, 64), st.binary(max_size=64))
def test_a_record_of_the_corpus_with_a_part_replaced_is_read_and_given_back(
    file: Path, at: int, length: int, instead: bytes
) -> None:
    data = file.read_bytes()
    at %= len(data) + 1
    assert isinstance(check(decoded(data[:at] + instead + data[at + length :])), Request | Invalid)


def test_some_seconds_of_coverage_guided_fuzzing_find_nothing(tmp_path: Path) -> None:
    if importlib.util.find_spec("atheris") is None:
        if os.environ.get("CI") == "true" and sys.platform == "linux":
            pytest.fail("atheris is not installed")
        pytest.skip("atheris is not installed")
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", str(_SECONDS), str(tmp_path)],
        check=False,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_SECONDS + 120,
        cwd=Path(__file__).parents[2],
    )
    crashes = [file.read_bytes() for file in tmp_path.iterdir() if file.name.startswith(("crash-", "timeout-", "oom-"))]
    assert (done.returncode, crashes) == (0, []), done.stdout[-2_000:] + done.stderr[-2_000:]
