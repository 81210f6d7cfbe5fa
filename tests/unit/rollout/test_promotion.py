"""The champion's seat under retries and rivals."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from windtunnel.errors import ConflictError, TemporaryError
from windtunnel.rollout.promotion import Candidate, promote
from windtunnel.rollout.served_models import DirectoryServedModels
from windtunnel.rollout.taking_back import take_back
from windtunnel.spec.servedmodel import ModelVersion, ServedModel, ServingSettings

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def version(number: int) -> ModelVersion:
    return ModelVersion(version=str(number), bundle=f"s3://b/{number}", digest=f"sha256:{number:064d}")


def candidate(number: int, expected: int | None, run_id: str) -> Candidate:
    return Candidate(
        lifecycle="flight_delay",
        champion=version(number),
        expected_champion=None if expected is None else str(expected),
        serving=ServingSettings(),
        run_id=run_id,
        by="tests",
    )


@pytest.fixture
def served_models(tmp_path: Path) -> DirectoryServedModels:
    return DirectoryServedModels(tmp_path)


def test_the_first_promotion_creates_the_served_model(served_models: DirectoryServedModels) -> None:
    done = promote(served_models, candidate(1, None, "a"), NOW)
    assert (done.changed, done.ours) == (True, True)
    found = served_models.get("flight-delay")
    assert found is not None
    assert found.spec.champion == version(1)
    (act,) = found.spec.history
    assert (act.number, act.action, act.run_id, act.replaced) == (1, "promotion", "a", None)


def test_a_repeat_changes_nothing(served_models: DirectoryServedModels) -> None:
    promote(served_models, candidate(1, None, "a"), NOW)
    before = served_models.get("flight-delay")
    done = promote(served_models, candidate(1, None, "a"), NOW)
    assert (done.changed, done.ours) == (False, True)
    assert served_models.get("flight-delay") == before


def test_a_challenger_that_takes_the_seat_leaves_its_own_empty(served_models: DirectoryServedModels) -> None:
    first = promote(served_models, candidate(1, None, "a"), NOW).served_model
    beside = {"challenger": version(2), "traffic": 50, "shadow": True}
    rollout = first.model_copy(update={"spec": first.spec.model_copy(update=beside)})
    served_models.replace(rollout, first.metadata.resource_version or "")
    spec = promote(served_models, candidate(2, 1, "b"), NOW).served_model.spec
    assert (spec.champion, spec.challenger, spec.traffic, spec.shadow) == (version(2), None, 0, False)


def taken_back(served_models: DirectoryServedModels) -> ServedModel:
    """Version 2 beside champion 1, after the guard has seen it."""
    first = promote(served_models, candidate(1, None, "a"), NOW).served_model
    beside = {"challenger": version(2), "traffic": 50}
    rollout = first.model_copy(update={"spec": first.spec.model_copy(update=beside)})
    served_models.replace(rollout, first.metadata.resource_version or "")
    written = take_back(served_models, "flight-delay", version(2), "NotANumber", "1 of its requests", NOW)
    assert written is not None
    return written


def test_what_the_guard_took_back_is_not_promoted(served_models: DirectoryServedModels) -> None:
    before = taken_back(served_models)
    with pytest.raises(ConflictError, match=r"version 2 was taken back at 2026-.*: NotANumber: 1 of its"):
        promote(served_models, candidate(2, 1, "b"), NOW)
    assert served_models.get("flight-delay") == before
    # another version may take the seat
    assert promote(served_models, candidate(3, 1, "c"), NOW).changed


@pytest.mark.parametrize("since", [{"traffic": 5}, {"shadow": True}, {"challenger": None}])
def test_unless_somebody_gave_it_another_chance(
    served_models: DirectoryServedModels, since: dict[str, Any]
) -> None:
    model = taken_back(served_models)
    again = model.model_copy(update={"spec": model.spec.model_copy(update=since)})
    served_models.replace(again, model.metadata.resource_version or "")
    assert promote(served_models, candidate(2, 1, "b"), NOW).changed


def test_the_champion_before_is_kept_as_previous(served_models: DirectoryServedModels) -> None:
    promote(served_models, candidate(1, None, "a"), NOW)
    done = promote(served_models, candidate(2, 1, "b"), NOW)
    assert done.served_model.spec.previous == version(1)


def test_a_run_that_was_overtaken_is_told_by_whom(served_models: DirectoryServedModels) -> None:
    promote(served_models, candidate(1, None, "a"), NOW)
    promote(served_models, candidate(3, 1, "c"), NOW)
    with pytest.raises(ConflictError, match=r"version 3 serves, promoted by tests in run c at 2026-01-01"):
        promote(served_models, candidate(2, 1, "b"), NOW)


def test_a_late_retry_of_a_run_whose_version_was_replaced_does_not_bring_it_back(
    served_models: DirectoryServedModels,
) -> None:
    promote(served_models, candidate(1, None, "a"), NOW)
    promote(served_models, candidate(2, 1, "b"), NOW)
    promote(served_models, candidate(3, 2, "c"), NOW)
    with pytest.raises(ConflictError, match="version 3 serves"):
        promote(served_models, candidate(2, 1, "b"), NOW)


def test_a_version_that_serves_already_keeps_its_promotion(served_models: DirectoryServedModels) -> None:
    promote(served_models, candidate(1, None, "a"), NOW)
    done = promote(served_models, candidate(1, 1, "b"), NOW)
    assert (done.changed, done.ours) == (False, False)
    assert done.served_model.spec.previous is None


def test_new_serving_settings_reach_a_version_that_serves_already(
    served_models: DirectoryServedModels,
) -> None:
    promote(served_models, candidate(1, None, "a"), NOW)
    larger = replace(candidate(1, 1, "b"), serving=ServingSettings(replicas=3))
    done = promote(served_models, larger, NOW)
    assert (done.changed, done.ours) == (False, False)
    assert done.served_model.spec.serving.replicas == 3
    assert [act.run_id for act in done.served_model.spec.history] == ["a"]


class Crowded(DirectoryServedModels):
    """Others write between our reading and our writing, `times` times."""

    def __init__(self, directory: Path, times: int, number: int) -> None:
        super().__init__(directory)
        self.times = times
        self.number = number

    def replace(self, model: ServedModel, resource_version: str, *, drop_annotation: str = "") -> ServedModel:
        if self.times:
            self.times -= 1
            current = self.get(model.metadata.name)
            assert current is not None
            spec = current.spec.model_copy(update={"champion": version(self.number), "traffic": 0})
            super().replace(current.model_copy(update={"spec": spec}), resource_version)
        return super().replace(model, resource_version, drop_annotation=drop_annotation)


def test_a_write_in_between_that_leaves_the_champion_is_taken_over(tmp_path: Path) -> None:
    crowded = Crowded(tmp_path, times=2, number=1)
    promote(crowded, candidate(1, None, "a"), NOW)
    assert promote(crowded, candidate(2, 1, "b"), NOW).served_model.spec.champion == version(2)


def test_a_promotion_in_between_wins(tmp_path: Path) -> None:
    crowded = Crowded(tmp_path, times=1, number=7)
    promote(crowded, candidate(1, None, "a"), NOW)
    with pytest.raises(ConflictError, match="version 7 serves"):
        promote(crowded, candidate(2, 1, "b"), NOW)


def test_writers_that_never_stop_are_a_reason_to_try_again(tmp_path: Path) -> None:
    crowded = Crowded(tmp_path, times=100, number=1)
    promote(crowded, candidate(1, None, "a"), NOW)
    with pytest.raises(TemporaryError, match="5 times in a row"):
        promote(crowded, candidate(2, 1, "b"), NOW)
