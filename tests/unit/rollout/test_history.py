"""The history on a ServedModel: who has the seat, what was taken back, where a rollback goes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from memory_models import version

from windtunnel.errors import TemporaryError
from windtunnel.rollout.history import (
    KEPT,
    MOST,
    RESERVED,
    acts,
    before,
    former_champions,
    promoted_by,
    seat,
    taken_back,
    telling,
    unseated,
    with_act,
)
from windtunnel.spec.servedmodel import ServedModel

if TYPE_CHECKING:
    from windtunnel.spec.servedmodel import Action

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Life:
    """A ServedModel to which things are done, one a minute."""

    def __init__(self, **spec: Any) -> None:
        self.model = ServedModel.model_validate(
            {"metadata": {"name": "demo"}, "spec": {"lifecycle": "demo", "champion": version(1), **spec}}
        )
        self.now = NOW

    def edit(self, **spec: Any) -> Life:
        self.model = self.model.model_copy(update={"spec": self.model.spec.model_copy(update=spec)})
        return self

    def recorded(self, number: int) -> Life:
        value = {**self.model.to_object(), "status": {"recorded": number}}
        self.model = ServedModel.model_validate(value)
        return self

    def act(self, action: Action, number: int, run_id: str = "", **changes: Any) -> Life:
        self.now += timedelta(minutes=1)
        replaced = self.model.spec.champion.version if "champion" in changes else None
        return self.edit(
            **with_act(
                changes,
                self.model,
                action,
                version(number),
                at=self.now,
                by="tests",
                run_id=run_id,
                replaced=replaced,
            )
        )

    def promote(self, number: int, run_id: str = "") -> Life:
        return self.act(
            "promotion", number, run_id, champion=version(number), previous=self.model.spec.champion
        )

    def back(self, number: int) -> Life:
        goes = before(self.model, version(number))
        return self.act("rollback", number, champion=version(number), previous=goes)

    @property
    def told(self) -> list[tuple[int, str, str]]:
        return [(act.number, act.action, act.version) for act in acts(self.model)]


def test_the_first_act_of_a_model_that_does_not_exist_yet_is_number_one() -> None:
    changes = with_act({"traffic": 0}, None, "promotion", version(1), at=NOW, by="tests", run_id="a")
    (act,) = changes["history"]
    assert (act.number, act.action, act.version, act.run_id, act.at) == (1, "promotion", "1", "a", NOW)
    assert changes["traffic"] == 0


def test_a_model_from_before_there_was_a_history_is_taken_over_with_what_it_knows() -> None:
    life = Life(champion=version(4), previous=version(3)).promote(5, "run")
    assert life.told == [(1, "promotion", "3"), (2, "promotion", "4"), (3, "promotion", "5")]
    assert [act.by for act in acts(life.model)] == ["kubectl", "kubectl", "tests"]
    assert [one.version for one in former_champions(life.model)] == ["4", "3"]
    assert before(life.model, version(4)) == version(3)


def test_a_champion_that_somebody_changed_is_told_of_before_what_follows() -> None:
    life = Life().promote(2).edit(champion=version(7))
    assert unseated(life.model)
    life.promote(3)
    assert life.told[-2:] == [(3, "promotion", "7"), (4, "promotion", "3")]
    assert acts(life.model)[-2].replaced == "2"


def test_going_back_by_hand_is_a_rollback_and_previous_follows() -> None:
    life = Life().promote(2).promote(3).edit(champion=version(2))
    changes = telling(life.model, NOW)
    assert changes is not None
    life.edit(**changes)
    assert life.told[-1] == (4, "rollback", "2")
    assert life.model.spec.previous == version(1)
    assert telling(life.model, NOW) is None
    assert not unseated(life.model)


def test_there_is_nothing_to_tell_of_a_champion_that_was_promoted() -> None:
    assert telling(Life().promote(2).model, NOW) is None


def test_the_seat_is_that_of_the_champion_or_nobodys() -> None:
    life = Life().promote(2, "run")
    found = seat(life.model)
    assert found is not None
    assert (found.action, found.run_id) == ("promotion", "run")
    assert seat(life.edit(champion=version(9)).model) is None
    # the same version with another bundle's digest is another champion
    other = version(2).model_copy(update={"digest": "sha256:" + "f" * 64})
    assert seat(Life().promote(2).edit(champion=other).model) is None


def test_a_run_has_had_its_promotion_whoever_serves() -> None:
    life = Life().promote(2, "a").promote(3, "b").back(2)
    found = promoted_by(life.model, "b")
    assert found is not None
    assert found.version == "3"
    assert promoted_by(life.model, "c") is None
    assert promoted_by(life.model, "") is None


def test_what_was_taken_back_stays_so_until_it_has_the_seat() -> None:
    life = Life().act("taken_back", 2)
    assert taken_back(life.model, version(2)) is not None
    life.act("refusal", 2)
    assert taken_back(life.model, version(2)) is not None
    assert taken_back(life.model, version(3)) is None
    assert taken_back(life.promote(2).model, version(2)) is None


def test_rollbacks_go_further_back_and_never_forth() -> None:
    life = Life().promote(2).promote(3).promote(4)
    steps = []
    while life.model.spec.previous is not None:
        steps.append(life.model.spec.previous.version)
        life.back(int(life.model.spec.previous.version))
    assert steps == ["3", "2", "1"]
    # nothing is forgotten: each is still a place to go to, the last that served first
    assert [one.version for one in former_champions(life.model)] == ["2", "3", "4"]


def test_where_a_rollback_goes_comes_first_among_the_former_champions() -> None:
    life = Life().promote(2).promote(3).back(2)
    assert [one.version for one in former_champions(life.model)] == ["1", "3"]
    life.promote(4)
    assert [one.version for one in former_champions(life.model)] == ["2", "1", "3"]
    life.back(3)
    assert life.model.spec.previous == version(4)


def test_acts_stay_until_the_ledger_has_them_and_the_newest_stay_then() -> None:
    life = Life()
    for number in range(2, 32):
        life.promote(number)
    assert len(acts(life.model)) == 31
    life.recorded(31).promote(32)
    assert [act.number for act in acts(life.model)] == list(range(12, 33))
    life.recorded(32).promote(33)
    assert [act.number for act in acts(life.model)][-1] == 33


def test_refusals_push_no_champion_out_of_the_history() -> None:
    life = Life().promote(2).promote(3)
    for number in range(4, 100):
        life.act("refusal", number).recorded(number)
    assert [one.version for one in former_champions(life.model)] == ["2", "1"]
    assert before(life.model, version(2)) == version(1)
    assert len(acts(life.model)) <= 2 * KEPT + 1


def test_promotions_wait_for_a_ledger_that_is_far_behind_and_the_guard_does_not() -> None:
    life = Life(challenger=version(2), traffic=5)
    for number in range(3, 2 + MOST - RESERVED):
        life.act("refusal", number)
    assert len(acts(life.model)) == MOST - RESERVED
    with pytest.raises(TemporaryError, match="48 acts wait for the ledger"):
        life.promote(99)
    for _ in range(RESERVED + 5):
        life.edit(traffic=5).act("taken_back", 2, traffic=0)
        assert life.model.spec.traffic == 0
    assert len(acts(life.model)) == MOST
    assert ServedModel.model_validate(life.model.to_object()) == life.model


def test_numbers_are_never_used_again_even_by_a_history_that_was_cut() -> None:
    life = Life().promote(2).recorded(17).edit(history=())
    life.promote(3)
    assert [act.number for act in acts(life.model)][-1] > 17
    assert min(act.number for act in acts(life.model)) > 17


def test_long_words_are_cut_to_what_the_resource_takes() -> None:
    life = Life()
    changes = with_act(
        {}, life.model, "refusal", version(2), at=NOW, by="b" * 999, reason="r" * 9999, evidence="e" * 9999
    )
    life.edit(**changes)
    assert ServedModel.model_validate(life.model.to_object()) == life.model
