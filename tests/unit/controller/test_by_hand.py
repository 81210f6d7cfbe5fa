"""What people do with kubectl: a rollback by an annotation, a champion that was changed without an act."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from faulty_store import FaultyStore
from memory_models import MemoryModels, version

from windtunnel.controller.by_hand import IDLE_SECONDS, RETRY_SECONDS, ByHand
from windtunnel.digests import digest
from windtunnel.errors import TemporaryError
from windtunnel.rollout.promotion import Candidate, promote
from windtunnel.rollout.rollback import ANNOTATION
from windtunnel.spec.servedmodel import Metadata, ModelVersion, ServedModel, ServedModelSpec, ServingSettings

if TYPE_CHECKING:
    from datetime import tzinfo

    from windtunnel.spec.servedmodel import Act

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Events:
    def __init__(self) -> None:
        self.told: list[tuple[str, str, str]] = []
        self.broken = False

    def tell(self, about: Metadata, kind: str, reason: str, message: str) -> None:
        if self.broken:
            raise TemporaryError("no answer from the API server")
        self.told.append((kind, reason, message))


def bundled(store: FaultyStore, number: int) -> ModelVersion:
    """A version whose bundle is in the store."""
    content = f'{{"version": {number}}}'.encode()
    store.put(f"demo/bundles/{number}/manifest.json", content)
    return ModelVersion(
        version=str(number), bundle=f"s3://windtunnel/demo/bundles/{number}", digest=digest(content)
    )


@pytest.fixture
def store() -> FaultyStore:
    return FaultyStore()


@pytest.fixture
def events() -> Events:
    return Events()


@pytest.fixture
def models(store: FaultyStore) -> MemoryModels:
    models = MemoryModels()
    for number in (1, 2, 3):
        promote(
            models,
            Candidate(
                lifecycle="demo",
                champion=bundled(store, number),
                expected_champion=str(number - 1) if number > 1 else None,
                serving=ServingSettings(),
                run_id=f"run-{number}",
                by="stage/rollout",
            ),
            NOW,
        )
    return models


@pytest.fixture
def by_hand(models: MemoryModels, store: FaultyStore, events: Events) -> ByHand:
    return ByHand(models, store, events)


def value(models: MemoryModels) -> dict[str, Any]:
    return models.models["demo"].to_object()


def champion(models: MemoryModels) -> str:
    return models.models["demo"].spec.champion.version


def last(models: MemoryModels) -> Act:
    return models.models["demo"].spec.history[-1]


@pytest.mark.parametrize(("asked", "expected"), [("previous", "2"), ("1", "1"), (" 1 ", "1")])
def test_an_annotation_rolls_back_and_goes(
    models: MemoryModels, by_hand: ByHand, events: Events, asked: str, expected: str
) -> None:
    models.annotate("demo", **{ANNOTATION: asked, "team": "flights"})
    before = value(models)
    assert by_hand.look(before) == IDLE_SECONDS
    assert champion(models) == expected
    assert models.models["demo"].metadata.annotations == {"team": "flights"}
    assert (last(models).action, last(models).by) == ("rollback", "kubectl")
    assert events.told == [("Normal", "RolledBack", f"from version 3 to version {expected}")]


def test_a_watch_that_is_late_rolls_back_once(models: MemoryModels, by_hand: ByHand, events: Events) -> None:
    models.annotate("demo", **{ANNOTATION: "2"})
    late = value(models)
    by_hand.look(late)
    by_hand.look(late)
    assert champion(models) == "2"
    assert [act.action for act in models.models["demo"].spec.history].count("rollback") == 1
    models.annotate("demo", **{ANNOTATION: "previous"})
    late = value(models)
    by_hand.look(late)
    # the same alarm: nothing is changed, and the annotation goes
    assert champion(models) == "2"
    assert events.told[-1][:2] == ("Warning", "RollbackRefused")
    assert models.models["demo"].metadata.annotations is None


@pytest.mark.parametrize("asked", ["9", "", "no such version"])
def test_what_is_not_in_the_history_is_refused_with_an_event(
    models: MemoryModels, by_hand: ByHand, events: Events, asked: str
) -> None:
    models.annotate("demo", **{ANNOTATION: asked})
    before = models.models["demo"].spec
    assert by_hand.look(value(models)) == IDLE_SECONDS
    assert models.models["demo"].spec == before
    assert models.models["demo"].metadata.annotations is None
    [(kind, reason, message)] = events.told
    assert (kind, reason) == ("Warning", "RollbackRefused")
    assert "never was the champion" in message


def test_a_bundle_that_is_gone_is_refused(
    models: MemoryModels, by_hand: ByHand, store: FaultyStore, events: Events
) -> None:
    store.delete("demo/bundles/2/manifest.json")
    models.annotate("demo", **{ANNOTATION: "previous"})
    by_hand.look(value(models))
    assert champion(models) == "3"
    assert "bundle of version 2 is gone" in events.told[0][2]


def test_a_store_that_is_away_holds_up_no_rollback(
    models: MemoryModels, by_hand: ByHand, store: FaultyStore, events: Events
) -> None:
    store.away = True
    models.annotate("demo", **{ANNOTATION: "previous"})
    by_hand.look(value(models))
    assert champion(models) == "2"
    assert "its bundle was not looked at" in events.told[0][2]


def test_an_api_server_that_is_away_is_asked_again(models: MemoryModels, by_hand: ByHand) -> None:
    models.annotate("demo", **{ANNOTATION: "previous"})
    before = value(models)
    models.away = True
    assert by_hand.look(before) == RETRY_SECONDS
    models.away = False
    models.lose = True
    assert by_hand.look(before) == RETRY_SECONDS
    by_hand.look(value(models))
    assert champion(models) == "2"


def test_an_api_server_that_has_not_read_its_roles_yet_loses_no_rollback(
    models: MemoryModels, by_hand: ByHand, events: Events
) -> None:
    models.annotate("demo", **{ANNOTATION: "previous"})
    before = value(models)
    models.denies = True
    assert by_hand.look(before) == RETRY_SECONDS
    assert events.told == []
    models.denies = False
    by_hand.look(value(models))
    assert champion(models) == "2"


def test_a_lost_answer_is_no_second_rollback_however_long_the_outage_was(
    models: MemoryModels, by_hand: ByHand, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Later(datetime):
        """Beyond what counts as the same alarm."""

        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Later:
            return cls.fromtimestamp(datetime.now(tz).timestamp() + 600, tz)

    models.annotate("demo", **{ANNOTATION: "previous"})
    before = value(models)  # all that a watch that is away has told
    models.lose = True
    assert by_hand.look(before) == RETRY_SECONDS
    monkeypatch.setattr("windtunnel.controller.by_hand.datetime", Later)
    assert by_hand.look(before) == IDLE_SECONDS
    assert champion(models) == "2"
    assert events.told == [("Normal", "RolledBack", "version 2 serves already")]


def test_events_that_cannot_be_written_keep_nobody_from_rolling_back(
    models: MemoryModels, by_hand: ByHand, events: Events
) -> None:
    events.broken = True
    models.annotate("demo", **{ANNOTATION: "previous"})
    assert by_hand.look(value(models)) == IDLE_SECONDS
    assert champion(models) == "2"


def test_to_the_champion_itself_it_ends_the_rollout(
    models: MemoryModels, by_hand: ByHand, events: Events
) -> None:
    models.edit("demo", challenger=version(4), traffic=5)
    models.annotate("demo", **{ANNOTATION: "3"})
    by_hand.look(value(models))
    spec = models.models["demo"].spec
    assert (spec.champion.version, spec.challenger, spec.traffic) == ("3", None, 0)
    assert events.told[0][2] == "version 4 is no challenger any more; version 3 serves"


def test_a_champion_that_was_edited_gets_an_act(models: MemoryModels, by_hand: ByHand) -> None:
    models.edit("demo", champion=version(7))
    by_hand.look(value(models))
    act = last(models)
    assert (act.action, act.version, act.replaced, act.by) == ("promotion", "7", "3", "kubectl")
    assert models.models["demo"].spec.previous is not None
    assert models.models["demo"].spec.previous.version == "3"
    writes = models.writes
    by_hand.look(value(models))
    assert models.writes == writes


def test_a_model_of_an_earlier_release_is_taken_over(by_hand: ByHand, models: MemoryModels) -> None:
    models.models.clear()
    spec = ServedModelSpec(lifecycle="demo", champion=version(5), previous=version(4))
    models.create(ServedModel(metadata=Metadata(name="demo"), spec=spec))
    assert by_hand.look(value(models)) == IDLE_SECONDS
    told = models.models["demo"].spec
    assert [(act.number, act.version) for act in told.history] == [(1, "4"), (2, "5")]
    assert told.previous == version(4)
    # and can be rolled back at once
    models.annotate("demo", **{ANNOTATION: "previous"})
    ByHand(models, FaultyStore(), Events()).look(value(models))
    assert champion(models) == "4"


def test_a_deleted_model_is_no_error(by_hand: ByHand, models: MemoryModels) -> None:
    models.annotate("demo", **{ANNOTATION: "previous"})
    late = value(models)
    models.models.clear()
    assert by_hand.look(late) == RETRY_SECONDS


def test_a_spec_that_makes_no_sense_is_the_keepers_to_report(by_hand: ByHand) -> None:
    assert by_hand.look({"metadata": {"name": "demo"}, "spec": None}) == IDLE_SECONDS
