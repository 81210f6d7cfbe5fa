"""Which acts and which verdict are about a version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from windtunnel.digests import canonical_json, digest
from windtunnel.errors import IntegrityError, NotFoundError
from windtunnel.ledger import Ledger
from windtunnel.lineage.judgement import acts_about, read_verdict

if TYPE_CHECKING:
    from windtunnel.objects import ObjectStore

ONE, TWO = "sha256:" + "1" * 64, "sha256:" + "2" * 64


def put_verdict(store: ObjectStore, about: str, **more: Any) -> str:
    content = canonical_json({"kind": "Verdict", "challenger": {"digest": about}, **more})
    key = f"demo/verdicts/{digest(content).removeprefix('sha256:')}.json"
    store.put(key, content)
    return store.uri(key)


def act(about: str, action: str = "promotion", **more: Any) -> dict[str, Any]:
    """As the mirror writes it."""
    return {
        "action": action,
        "act": 1,
        "version": "1",
        "bundle": "s3://b/1",
        "bundle_digest": about,
        "replaced": None,
        "run_id": "run-1",
        "at": "2026-11-24T17:30:00+00:00",
        "by": "stage/rollout",
        "reason": "",
        "evidence": "",
        **more,
    }


def entries(store: ObjectStore, *acts: dict[str, Any]) -> list[dict[str, Any]]:
    ledger = Ledger(store, "demo")
    for one in acts:
        ledger.append(one)
    return ledger.entries()


def test_the_acts_of_a_bundle_are_told_in_order_and_no_others(store: ObjectStore) -> None:
    found = acts_about(
        entries(store, act(ONE), act(TWO), act(ONE, "rollback", by="kubectl", reason="worse", replaced="2")),
        ONE,
    )
    assert [(one.number, one.action) for one in found] == [(1, "promotion"), (3, "rollback")]
    assert found[1].reasons == ("worse",)
    assert found[1].replaced == "2"
    assert found[0].reasons == ()


def test_entries_of_the_evaluation_name_their_verdict_otherwise(store: ObjectStore) -> None:
    refusal = {"action": "refusal", "bundle_digest": ONE, "verdict": "s3://b/v", "reasons": ["a", "b"]}
    (found,) = acts_about(entries(store, refusal), ONE)
    assert found.evidence == "s3://b/v"
    assert found.reasons == ("a", "b")
    assert found.at, "when it was written"


def test_the_verdict_that_gave_the_seat_comes_before_a_newer_one(store: ObjectStore) -> None:
    seated = put_verdict(store, ONE, decision="promote")
    newer = put_verdict(store, ONE, decision="refuse")
    acts = acts_about(entries(store, act(ONE, evidence=seated), act(ONE, "refusal", evidence=newer)), ONE)
    verdict = read_verdict(store, "demo", ONE, acts)
    assert verdict is not None
    assert verdict.uri == seated


def test_evidence_may_be_a_document_that_names_the_verdict(store: ObjectStore) -> None:
    verdict = put_verdict(store, ONE)
    store.put("demo/rollouts/r.json", canonical_json({"kind": "Rollout", "verdict": verdict}))
    acts = acts_about(entries(store, act(ONE, evidence=store.uri("demo/rollouts/r.json"))), ONE)
    found = read_verdict(store, "demo", ONE, acts)
    assert found is not None
    assert found.uri == verdict


def test_without_an_act_the_verdict_about_the_bundle_is_looked_for(store: ObjectStore) -> None:
    for number in range(40):
        put_verdict(store, TWO, number=number)
    mine = put_verdict(store, ONE)
    found = read_verdict(store, "demo", ONE, [])
    assert found is not None
    assert found.uri == mine
    assert read_verdict(store, "demo", "sha256:" + "3" * 64, []) is None


@pytest.mark.parametrize(
    "evidence", ["https://example.com/x.json", "by word of mouth", "", "s3://other/x.json"]
)
def test_evidence_of_another_kind_is_passed_over(store: ObjectStore, evidence: str) -> None:
    mine = put_verdict(store, ONE)
    acts = acts_about(entries(store, act(ONE, evidence=evidence)), ONE)
    found = read_verdict(store, "demo", ONE, acts)
    assert found is not None
    assert found.uri == mine


def test_a_changed_or_missing_verdict_is_told(store: ObjectStore) -> None:
    uri = put_verdict(store, ONE, decision="refuse")
    acts = acts_about(entries(store, act(ONE, evidence=uri)), ONE)
    key = store.key(uri)
    store.put(key, store.get(key).replace(b"refuse", b"promote"))
    with pytest.raises(IntegrityError, match="changed after it was written"):
        read_verdict(store, "demo", ONE, acts)
    store.put(key, b"[]")
    with pytest.raises(IntegrityError, match="no JSON object"):
        read_verdict(store, "demo", ONE, acts)
    store.delete(key)
    with pytest.raises(NotFoundError, match="it was swept"):
        read_verdict(store, "demo", ONE, acts)
