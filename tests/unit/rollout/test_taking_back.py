"""A challenger loses its traffic in one write, and only the challenger that was meant."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from windtunnel.errors import ConflictError, TemporaryError
from windtunnel.rollout.served_models import DirectoryServedModels
from windtunnel.rollout.taking_back import take_back, why_taken_back
from windtunnel.spec.servedmodel import Metadata, ModelVersion, ServedModel, ServedModelSpec

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def version(number: int) -> ModelVersion:
    return ModelVersion(version=str(number), bundle=f"s3://b/{number}", digest=f"sha256:{number:064d}")


class Busy(DirectoryServedModels):
    """Somebody else writes just before each of our first writes."""

    def __init__(self, directory: Path, times: int, **change: object) -> None:
        super().__init__(directory)
        self._times, self._change = times, change

    def replace(self, model: ServedModel, resource_version: str, *, drop_annotation: str = "") -> ServedModel:
        if self._times:
            self._times -= 1
            current = self.get(model.metadata.name)
            assert current is not None
            spec = current.spec.model_copy(update=self._change)
            super().replace(current.model_copy(update={"spec": spec}), resource_version)
        return super().replace(model, resource_version, drop_annotation=drop_annotation)


def start(directory: Path, **spec: object) -> DirectoryServedModels:
    served_models = DirectoryServedModels(directory)
    served_models.create(
        ServedModel(
            metadata=Metadata(name="demo", annotations={"team": "flights"}),
            spec=ServedModelSpec.model_validate(
                {"lifecycle": "demo", "champion": version(1), "challenger": version(2), **spec}
            ),
        )
    )
    return served_models


def take(served_models: DirectoryServedModels, number: int = 2) -> ServedModel | None:
    return take_back(served_models, "demo", version(number), "NotANumber", "why", NOW)


def now(served_models: DirectoryServedModels) -> ServedModel:
    found = served_models.get("demo")
    assert found is not None
    return found


@pytest.mark.parametrize("spec", [{"traffic": 10}, {"shadow": True}, {"traffic": 10, "shadow": True}])
def test_traffic_and_shadow_go_and_the_reason_stays(tmp_path: Path, spec: dict[str, object]) -> None:
    served_models = start(tmp_path, **spec)
    written = take(served_models)
    assert written == now(served_models)
    assert (written.spec.traffic, written.spec.shadow) == (0, False)
    assert written.spec.challenger == version(2)
    assert written.metadata.annotations is not None
    assert written.metadata.annotations["team"] == "flights"
    assert why_taken_back(written) == ("NotANumber", "why")
    (found, act) = written.spec.history
    assert (found.action, found.version, found.by) == ("promotion", "1", "kubectl")
    assert (act.action, act.version, act.by) == ("taken_back", "2", "controller/guard")


def test_a_repeat_writes_nothing(tmp_path: Path) -> None:
    served_models = start(tmp_path, traffic=10)
    take(served_models)
    before = now(served_models)
    assert take(served_models) == before
    assert now(served_models) == before


@pytest.mark.parametrize("other", [3, None])
def test_another_challenger_is_left_alone(tmp_path: Path, other: int | None) -> None:
    challenger = {"challenger": version(other), "traffic": 5} if other else {"challenger": None}
    served_models = start(tmp_path, **challenger)
    before = now(served_models)
    assert take(served_models) is None
    assert now(served_models) == before


def test_the_same_version_with_another_bundle_is_another_challenger(tmp_path: Path) -> None:
    served_models = start(tmp_path, challenger=version(2).model_copy(update={"bundle": "s3://c"}), traffic=5)
    assert take(served_models) is None
    assert now(served_models).spec.traffic == 5


def test_a_served_model_that_is_gone_is_no_error(tmp_path: Path) -> None:
    assert take(DirectoryServedModels(tmp_path)) is None


def test_who_writes_in_between_does_not_save_it(tmp_path: Path) -> None:
    start(tmp_path, traffic=10)
    written = take(Busy(tmp_path, 2, traffic=20))
    assert written is not None
    assert written.spec.traffic == 0


def test_a_promotion_in_between_is_not_undone(tmp_path: Path) -> None:
    start(tmp_path, traffic=10)
    assert take(Busy(tmp_path, 1, champion=version(2), challenger=None, traffic=0)) is None
    assert now(DirectoryServedModels(tmp_path)).spec.champion == version(2)


def test_it_gives_up_for_now_when_others_write_all_the_time(tmp_path: Path) -> None:
    start(tmp_path, traffic=10)
    with pytest.raises(TemporaryError, match="5 times"):
        take(Busy(tmp_path, 100, traffic=20))


def test_conflicts_are_what_busy_makes(tmp_path: Path) -> None:
    start(tmp_path, traffic=10)
    model = now(DirectoryServedModels(tmp_path))
    with pytest.raises(ConflictError):
        Busy(tmp_path, 1, traffic=20).replace(model, model.metadata.resource_version or "")
