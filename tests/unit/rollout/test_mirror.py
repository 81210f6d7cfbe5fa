"""The ledger follows the history: in order, each act once, whoever records and whatever fails meanwhile."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from faulty_store import FaultyStore
from memory_models import MemoryModels, version

from windtunnel.errors import PermanentError, StoreError, TemporaryError, WindtunnelError
from windtunnel.ledger import Ledger
from windtunnel.rollout.change import change
from windtunnel.rollout.history import acts, telling, with_act
from windtunnel.rollout.mirror import entry_of, follow, identity_of, record, unrecorded
from windtunnel.rollout.promotion import Candidate, promote
from windtunnel.rollout.rollback import roll_back
from windtunnel.rollout.taking_back import take_back
from windtunnel.spec.servedmodel import ServedModel, ServingSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from windtunnel.spec.servedmodel import Act

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
SEEDS = range(30)


class Aliases:
    """MLflow's alias, in memory."""

    def __init__(self) -> None:
        self.version: str | None = None
        self.away = False
        self.writes = 0

    def champion_version(self, name: str) -> str | None:
        if self.away:
            raise StoreError("MLflow does not answer")
        return self.version

    def set_champion(self, name: str, version: str) -> None:
        self.version = version
        self.writes += 1


class World:
    """One ServedModel, people and machines who change it, and several who record what was done."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.models = MemoryModels()
        self.store = FaultyStore()
        self.aliases = Aliases()
        self.now = BEGIN
        self.seen: dict[int, Act] = {}
        """Every act that ever stood in the history, by number."""
        self.next_version = 1
        self.ledgers = [Ledger(self.store, "demo") for _ in range(3)]
        """Of recorders that live for long: what they remember may be old."""

    def run(self, steps: int, recording: float) -> None:
        for _ in range(steps):
            self.now += timedelta(seconds=self.random.choice([0, 1, 30, 500]))
            self.models.lose = self.random.random() < 0.1
            if self.random.random() < 0.15:
                self.models.before_write = lambda: self.tried(self.act)
            self.tried(self.act)
            self.models.lose, self.models.before_write = False, None
            self.look()
            while self.random.random() < recording:
                self.tried(self.record)

    def tried(self, what: Any) -> None:
        try:
            what()
        except WindtunnelError:
            pass
        finally:
            self.look()

    def look(self) -> None:
        model = self.models.models.get("demo")
        for act in acts(model):
            assert self.seen.setdefault(act.number, act) == act, "an act was changed"
        numbers = [act.number for act in acts(model)]
        assert numbers == sorted(set(numbers))

    def act(self) -> None:
        model = self.models.models.get("demo")
        if model is None:
            return self.promote()
        return self.random.choice(
            [self.promote, self.promote, self.roll_back, self.begin, self.take_back, self.refuse, self.edit]
        )()

    def promote(self) -> None:
        model = self.models.models.get("demo")
        number, self.next_version = self.next_version, self.next_version + 1
        promote(
            self.models,
            Candidate(
                lifecycle="demo",
                champion=version(number),
                expected_champion=model.spec.champion.version if model else None,
                serving=ServingSettings(),
                run_id=self.random.choice(["", f"run-{number}"]),
                by="tests",
            ),
            self.now,
        )

    def roll_back(self) -> None:
        to = self.random.choice([None, str(self.random.randint(1, self.next_version))])
        roll_back(self.models, "demo", to, "tests", self.now)

    def begin(self) -> None:
        number, self.next_version = self.next_version, self.next_version + 1
        self.models.edit("demo", challenger=version(number), traffic=5)

    def take_back(self) -> None:
        challenger = self.models.models["demo"].spec.challenger
        if challenger is not None:
            take_back(self.models, "demo", challenger, "NotANumber", "why", self.now)

    def refuse(self) -> None:
        change(
            self.models,
            "demo",
            lambda model: with_act({}, model, "refusal", version(999), at=self.now, by="tests"),
        )

    def edit(self) -> None:
        """By kubectl, without an act; the controller tells of it, or somebody else does first."""
        number = self.random.randint(1, self.next_version)
        self.models.edit("demo", champion=version(number), challenger=None, traffic=0)
        if self.random.random() < 0.5:
            change(self.models, "demo", lambda model: telling(model, self.now))

    def record(self) -> None:
        """One of several recorders, which may die at any call of the store, and may have an old view."""
        model = self.models.models.get("demo")
        if model is None:
            return
        if self.random.random() < 0.3:
            self.store.faults = self.faults()
        if self.random.random() < 0.2:
            model = model.model_copy(update={"status": None})
        ledger = self.random.choice([*self.ledgers, Ledger(self.store, "demo")])
        try:
            number = record(model, ledger)
        finally:
            self.store.faults = iter(())
        if self.random.random() < 0.8:
            self.models.note_recorded("demo", number)

    def faults(self) -> Iterator[str | None]:
        for _ in range(self.random.randint(0, 8)):
            yield None
        yield self.random.choice(["before", "after"])

    def check(self) -> None:
        """After all have come back: the ledger is the history, whole and in order."""
        model = self.models.models["demo"]
        told = telling(model, self.now)
        if told is not None:
            self.models.edit("demo", **told)
            self.look()
        model = self.models.models["demo"]
        number = record(model, Ledger(self.store, "demo"))
        self.models.note_recorded("demo", number)
        follow(model, self.aliases)
        ledger = Ledger(self.store, "demo")
        entries = ledger.entries()
        assert ledger.verify() == len(entries)
        assert [entry["act"] for entry in entries] == sorted(self.seen)
        assert [entry["id"] for entry in entries] == [
            identity_of("demo", self.seen[number]) for number in sorted(self.seen)
        ]
        for entry in entries:
            expected = entry_of(self.seen[entry["act"]])
            assert {key: entry[key] for key in expected} == expected
        assert self.aliases.version == model.spec.champion.version
        assert unrecorded(self.models.models["demo"]) == ()


@pytest.mark.parametrize("seed", SEEDS)
def test_the_ledger_is_the_history_whatever_fails(seed: int) -> None:
    world = World(seed)
    world.run(world.random.randint(1, 60), recording=world.random.choice([0.2, 0.5, 0.8]))
    world.check()


@pytest.mark.parametrize("seed", range(10))
def test_a_store_that_is_away_for_thirty_acts_loses_and_doubles_none(seed: int) -> None:
    world = World(seed)
    world.run(10, recording=0.5)
    world.store.away = True
    before = len(world.seen)
    while len(world.seen) < before + 30:
        world.run(1, recording=0.5)
    assert len(unrecorded(world.models.models["demo"])) >= 30
    world.store.away = False
    world.run(10, recording=0.5)
    world.check()


def test_a_restored_model_is_not_recorded_a_second_time() -> None:
    world = World(1)
    world.run(20, recording=0.5)
    world.check()
    before = Ledger(world.store, "demo").entries()
    # from a backup: another object, whose status is empty
    backup = world.models.models["demo"].to_object()
    del backup["status"]
    model = ServedModel.model_validate(backup)
    assert record(model, Ledger(world.store, "demo")) == acts(model)[-1].number
    assert Ledger(world.store, "demo").entries() == before


def test_an_act_of_a_clock_that_is_hours_ahead_is_recorded_once() -> None:
    world = World(1)
    world.run(5, recording=0.5)
    ahead = datetime.now(UTC) + timedelta(hours=5)
    model = world.models.models["demo"]
    told = with_act({}, model, "refusal", version(9), at=ahead, by="stage/rollout")
    model = model.model_copy(update={"spec": model.spec.model_copy(update=told)})
    assert record(model, Ledger(world.store, "demo")) == record(model, Ledger(world.store, "demo"))
    assert sum(entry["version"] == "9" for entry in Ledger(world.store, "demo").entries()) == 1


def test_nothing_to_record_asks_nobody() -> None:
    world = World(2)
    world.run(5, recording=0.0)
    world.check()
    world.store.away = True
    assert record(world.models.models["demo"], Ledger(world.store, "demo")) > 0


def test_an_alias_that_is_right_is_left_alone() -> None:
    world = World(3)
    world.promote()
    model = world.models.models["demo"]
    assert follow(model, world.aliases) is True
    assert follow(model, world.aliases) is False
    assert world.aliases.writes == 1
    world.aliases.away = True
    with pytest.raises(TemporaryError):
        follow(model, world.aliases)


def test_an_act_has_the_same_identity_however_its_time_is_written() -> None:
    world = World(4)
    world.promote()
    (act,) = acts(world.models.models["demo"])
    west = act.model_copy(update={"at": act.at.astimezone(tz=None), "reason": "other words"})
    assert identity_of("demo", west) == identity_of("demo", act)
    assert identity_of("other", act) != identity_of("demo", act)


def test_a_ledger_that_refuses_is_no_reason_to_say_it_is_recorded() -> None:
    world = World(5)
    world.promote()

    class Refusing(Ledger):
        def append_all(self, *_: Any, **__: Any) -> list[int]:
            raise PermanentError("refused")

    with pytest.raises(PermanentError):
        record(world.models.models["demo"], Refusing(world.store, "demo"))
