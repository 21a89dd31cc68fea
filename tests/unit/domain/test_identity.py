"""Keys and ids must be the same for ever: the expected values here were made once and never change."""

from uuid import UUID, uuid5

from hypothesis import given
from hypothesis import strategies as st

from worker.domain.identity import event_id, fingerprint, idempotency_key


def test_a_uuid_is_its_own_key_in_lower_case_whatever_its_source() -> None:
    given_id = "3F2504E0-4F89-11D3-9A0C-0305E82C3301"
    assert idempotency_key(given_id, "/pos/1") == idempotency_key(given_id, "/pos/2") == given_id.lower()


def test_any_other_id_becomes_a_version_5_uuid_that_never_changes() -> None:
    key = idempotency_key("order-17", "/pos/1")
    assert key == "1de5c8d4-c762-5278-a03d-3efa19e038a1"
    assert UUID(key).version == 5


@given(st.text(), st.text())
def test_the_uuids_are_those_of_the_standard(key: str, event_type: str) -> None:
    name_space = UUID("0b7f3d52-3c5e-5f0a-8f39-2a9d3b1e7c44")
    assert event_id(key, event_type) == str(uuid5(name_space, f"{key}:{event_type}"))


def test_a_uuid_in_another_form_is_not_taken_for_one() -> None:
    bare = "3f2504e04f8911d39a0c0305e82c3301"
    assert idempotency_key(bare, "") != str(UUID(bare))
    for other in ("{3f2504e0-4f89-11d3-9a0c-0305e82c3301}", "3f2504e0-4f89-11d3-9a0c-0305e82c330\u0661"):
        assert UUID(idempotency_key(other, "")).version == 5


@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=40), st.text(max_size=40))
def test_source_and_id_never_run_into_each_other(source: str, message_id: str, source2: str, message_id2: str) -> None:
    same = idempotency_key(message_id, source) == idempotency_key(message_id2, source2)
    either_uuid = idempotency_key(message_id, source) in (message_id.lower(), message_id2.lower())
    assert same == ((source, message_id) == (source2, message_id2)) or either_uuid


def test_each_event_of_a_request_has_an_id_of_its_own() -> None:
    key = idempotency_key("order-17", "")
    ids = {event_id(key, f"terminal.operation.{name}.v1") for name in ("created", "completed", "failed")}
    assert len(ids) == 3
    known = event_id("3f2504e0-4f89-11d3-9a0c-0305e82c3301", "terminal.operation.created.v1")
    assert known == "bbbf4e79-ab0b-5cdf-9281-0a568f68be57"


def test_the_fingerprint_ignores_the_order_of_members_and_nothing_else() -> None:
    assert fingerprint("P1-T1", "end_of_day", {"a": 1}, None) == "cf42ec68ad4430aa99e48f9837320cfd"
    assert fingerprint("T", "op", {"a": 1, "b": 2}, None) == fingerprint("T", "op", {"b": 2, "a": 1}, None)
    variants: list[tuple[str, str, object, object]] = [
        ("T", "op", {}, None),
        ("T", "op", None, None),
        ("T2", "op", None, None),
        ("T", "op2", None, None),
        ("T", "op", None, "2026-01-01T00:00:00Z"),
    ]
    assert len({fingerprint(*variant) for variant in variants}) == len(variants)
