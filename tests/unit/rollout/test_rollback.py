"""Back to a former champion: where to, races, what ends with it, what is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from faulty_store import FaultyStore
from memory_models import MemoryModels, version

from windtunnel.digests import digest
from windtunnel.errors import ConflictError, IntegrityError, NotFoundError, StoreError
from windtunnel.rollout.promotion import Candidate, promote
from windtunnel.rollout.rollback import ANNOTATION, check_bundle, plan, roll_back
from windtunnel.spec.servedmodel import ModelVersion, RolloutState, ServedModelStatus, ServingSettings

if TYPE_CHECKING:
    from windtunnel.rollout.rollback import RolledBack
    from windtunnel.spec.servedmodel import ServedModel, ServedModelSpec

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def candidate(number: int, run_id: str = "run") -> Candidate:
    return Candidate(
        lifecycle="demo",
        champion=version(number),
        expected_champion=str(number - 1) if number > 1 else None,
        serving=ServingSettings(),
        run_id=f"{run_id}-{number}",
        by="stage/rollout",
    )


@pytest.fixture
def models() -> MemoryModels:
    """Versions 1, 2 and 3 were promoted, one after the other."""
    models = MemoryModels()
    for number in (1, 2, 3):
        promote(models, candidate(number), NOW)
    return models


def back(models: MemoryModels, to: str | None = None, minutes: float = 60, **how: Any) -> RolledBack:
    return roll_back(models, "demo", to, "anna", NOW + timedelta(minutes=minutes), **how)


def spec(models: MemoryModels) -> ServedModelSpec:
    return models.models["demo"].spec


def unchanged(models: MemoryModels, before: ServedModel) -> bool:
    return models.models["demo"] == before


def rolling_out(models: MemoryModels, number: int = 4) -> None:
    state = RolloutState(run_id="run-4", phase="Canary", since=NOW)
    models.edit("demo", challenger=version(number), traffic=25, shadow=True, rollout=state)


def test_back_to_the_one_before_and_then_further_back(models: MemoryModels) -> None:
    done = back(models, reason="late flights")
    assert (done.changed, spec(models).champion, spec(models).previous) == (True, version(2), version(1))
    assert done.act is not None
    assert (done.act.action, done.act.version, done.act.replaced) == ("rollback", "2", "3")
    assert (done.act.by, done.act.reason, done.act.run_id) == ("anna", "late flights", "")
    back(models, minutes=120)
    assert (spec(models).champion, spec(models).previous) == (version(1), None)
    with pytest.raises(NotFoundError, match=r"no champion before version 1; nothing.*former champions: 2, 3"):
        back(models, minutes=180)


def test_back_to_a_version_by_name(models: MemoryModels) -> None:
    back(models, "1")
    assert (spec(models).champion, spec(models).previous) == (version(1), None)
    back(models, "3")
    assert (spec(models).champion, spec(models).previous) == (version(3), version(1))


def test_what_never_was_the_champion_is_refused(models: MemoryModels) -> None:
    rolling_out(models)
    before = models.models["demo"]
    with pytest.raises(NotFoundError, match=r"version 4 never was the champion.*promote NAME 4"):
        back(models, "4")
    assert unchanged(models, before)


def test_a_model_that_does_not_exist_is_refused() -> None:
    with pytest.raises(NotFoundError, match="no such ServedModel"):
        back(MemoryModels())


def test_a_rollback_ends_the_rollout_that_goes_on(models: MemoryModels) -> None:
    rolling_out(models)
    done = back(models, reason="bad")
    now = spec(models)
    assert (now.champion, now.challenger, now.traffic, now.shadow, now.rollout) == (
        version(2), None, 0, False, None,
    )  # fmt: skip
    assert done.act is not None
    assert done.act.reason == "bad (the challenger, version 4, goes with it)"


def test_to_the_champion_itself_it_only_ends_the_rollout(models: MemoryModels) -> None:
    rolling_out(models)
    assert plan(models.models["demo"], "3").moves is False
    done = back(models, "3")
    now = spec(models)
    assert (now.champion, now.previous, now.challenger, now.rollout) == (version(3), version(2), None, None)
    assert done.act is not None
    assert (done.act.action, done.act.version, done.act.run_id) == ("taken_back", "4", "run-4")
    again = back(models, "3")
    assert (again.changed, again.act) == (False, None)


def test_two_people_who_saw_the_same_champion_roll_back_once(models: MemoryModels) -> None:
    models.before_write = lambda: None
    first = back(models, "2", expected="3")
    second = back(models, "2", expected="3", minutes=60.1)
    assert (first.changed, second.changed) == (True, False)
    assert spec(models).champion == version(2)
    assert [act.action for act in spec(models).history].count("rollback") == 1


def test_two_at_the_same_moment_roll_back_once(models: MemoryModels) -> None:
    models.before_write = lambda: back(models, expected="3") and None
    done = back(models, "2", expected="3")
    assert done.changed is False
    assert (spec(models).champion, spec(models).previous) == (version(2), version(1))


def test_two_scripts_at_the_same_moment_roll_back_once(models: MemoryModels) -> None:
    models.before_write = lambda: back(models) and None
    assert back(models).changed is False
    assert (spec(models).champion, spec(models).previous) == (version(2), version(1))


def test_a_second_script_of_the_same_alarm_has_to_name_its_version(models: MemoryModels) -> None:
    back(models)
    with pytest.raises(ConflictError, match=r"anna rolled back from version 3 to 2 60 s ago.*to go: 1"):
        back(models, minutes=61)
    assert spec(models).champion == version(2)
    back(models, "1", minutes=61)
    assert spec(models).champion == version(1)


def test_an_alarm_told_by_a_clock_that_is_hours_ahead_holds_up_no_other(models: MemoryModels) -> None:
    back(models, minutes=600)
    with pytest.raises(ConflictError, match=r"0 s ago"):
        back(models, minutes=599)
    back(models, minutes=60)
    assert spec(models).champion == version(1)


def test_a_promotion_that_was_faster_is_not_undone_unseen(models: MemoryModels) -> None:
    models.before_write = lambda: promote(models, candidate(4), NOW) and None
    with pytest.raises(ConflictError, match=r"version 3 was to be replaced, but version 4 serves by now"):
        back(models, expected="3")
    assert spec(models).champion == version(4)
    # nor by a script that has seen nothing before it decided
    models.before_write = lambda: promote(models, candidate(5), NOW) and None
    with pytest.raises(ConflictError, match=r"version 4 was to be replaced, but version 5 serves"):
        back(models, "2")
    assert spec(models).champion == version(5)


def test_a_write_in_between_that_leaves_the_champion_does_not_matter(models: MemoryModels) -> None:
    rolling_out(models)
    models.before_write = lambda: models.edit("demo", traffic=50)
    assert back(models).changed
    assert (spec(models).champion, spec(models).traffic) == (version(2), 0)


def test_a_lost_answer_is_met_by_the_next_try(models: MemoryModels) -> None:
    models.lose = True
    with pytest.raises(Exception, match="answer was lost"):
        back(models, "2", expected="3")
    assert back(models, "2", expected="3").changed is False
    assert len(spec(models).history) == 4


def test_the_annotation_goes_with_it_and_others_stay(models: MemoryModels) -> None:
    models.annotate("demo", **{ANNOTATION: "previous", "team": "flights"})
    back(models, annotation=ANNOTATION)
    assert models.models["demo"].metadata.annotations == {"team": "flights"}
    models.annotate("demo", **{ANNOTATION: "2"})
    assert back(models, "2", annotation=ANNOTATION).changed is False
    assert models.models["demo"].metadata.annotations is None


def test_a_run_that_was_rolled_back_does_not_come_again(models: MemoryModels) -> None:
    back(models)
    with pytest.raises(ConflictError, match=r"run run-3 promoted version 3 before"):
        promote(models, candidate(3), NOW)


def test_a_bundle_that_is_gone_is_refused_before_anything_changes(models: MemoryModels) -> None:
    before = models.models["demo"]

    def gone(one: ModelVersion) -> None:
        raise NotFoundError(f"{one.version} is gone")

    with pytest.raises(NotFoundError, match="2 is gone"):
        back(models, check=gone)
    assert unchanged(models, before)
    # what every pod holds needs no store
    models.models["demo"] = before.model_copy(update={"status": ServedModelStatus(warm=("2",))})
    assert back(models, check=gone).changed


def test_what_a_store_says_of_a_bundle() -> None:
    store = FaultyStore()
    content = b'{"a manifest": true}'
    good = ModelVersion(version="1", bundle="s3://windtunnel/demo/bundles/1", digest=digest(content))
    with pytest.raises(NotFoundError, match="bundle of version 1 is gone; nothing was changed"):
        check_bundle(store, good)
    store.put("demo/bundles/1/manifest.json", content)
    check_bundle(store, good)
    with pytest.raises(IntegrityError, match="was changed"):
        check_bundle(store, good.model_copy(update={"digest": "sha256:" + "0" * 64}))
    # another store's is not ours to judge
    check_bundle(store, good.model_copy(update={"bundle": "s3://elsewhere/1"}))
    store.away = True
    with pytest.raises(StoreError):
        check_bundle(store, good)
