"""What is still needed, against a world that is lived through day by day."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

import obstore
import pytest
from aged_store import AgedStore, shop
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded import put_record, stage_record

from windtunnel.digests import canonical_json, digest
from windtunnel.errors import DataError, IntegrityError
from windtunnel.ledger import Ledger
from windtunnel.prediction_log.keys import hour_folder, object_key, short
from windtunnel.registry.renewal import renew
from windtunnel.retention.contents import contents
from windtunnel.retention.references import needed
from windtunnel.retention.rules import old_enough
from windtunnel.retention.sweep import sweep
from windtunnel.rollout.history import former_champions, with_act
from windtunnel.rollout.mirror import record
from windtunnel.spec.retention import Retention
from windtunnel.spec.servedmodel import ModelVersion, ServedModel, ServedModelStatus
from windtunnel.spec.stages import Reference, StageResult

if TYPE_CHECKING:
    from collections.abc import Callable

RETENTION = Retention(unreferenced_days=30, record_days=60, prediction_days=90)


@dataclass
class World:
    """One lifecycle: versions are trained, tried, seated and unseated; whoever serves is asked."""

    store: AgedStore = field(default_factory=AgedStore)
    model: ServedModel | None = None
    versions: list[ModelVersion] = field(default_factory=list)
    snapshots: dict[str, str] = field(default_factory=dict)
    """By digest of the bundle."""
    answers: list[tuple[datetime, str]] = field(default_factory=list)
    """When who answered, or scored a copy, by digest of the bundle."""
    scored: list[tuple[datetime, str]] = field(default_factory=list)

    @property
    def now(self) -> datetime:
        return self.store.now

    def train(self) -> ModelVersion:
        """A version with its bundle and its snapshot."""
        number = len(self.versions) + 1
        snapshot = self._put("snapshots", {"number": number}, "train.parquet")
        bundle = self._put("bundles", {"number": number, "snapshot": snapshot}, "model.onnx")
        uri = self.store.uri(f"shop/bundles/{bundle[7:]}")
        version = ModelVersion(version=str(number), bundle=uri, digest=bundle)
        self.versions.append(version)
        self.snapshots[bundle] = snapshot
        return version

    def judge(self, version: ModelVersion, decision: str = "promote", run_id: str = "") -> None:
        """The record of its evaluation."""
        meta = {"decision": decision, "champion_version": None, "bundle": version.digest}
        outputs = {"verdict": Reference("verdict", "", version.digest, meta=meta)}
        made = stage_record("evaluate", run_id or f"run-{version.version}", at=self.now)
        put_record(self.store, "shop", replace(made, result=StageResult(outputs=outputs)))

    def _put(self, kind: str, manifest: dict[str, Any], file: str) -> str:
        content = canonical_json({**manifest, "files": {file: digest(b"12345")}})
        folder = f"shop/{kind}/{digest(content)[7:]}"
        for name, data in ((file, b"12345"), ("manifest.json", content)):
            self.store.put(f"{folder}/{name}", data)
        return digest(content)

    def act(
        self,
        action: Literal["promotion", "rollback", "refusal", "taken_back"],
        version: ModelVersion,
        **changes: Any,
    ) -> None:
        """As the rollout does it, and the controller tells the ledger."""
        replaced = self.model.spec.champion.version if self.model and "champion" in changes else None
        told = with_act(changes, self.model, action, version, at=self.now, by="test", replaced=replaced)
        if self.model is None:
            spec: dict[str, Any] = {"lifecycle": "shop", "champion": version, **told}
            self.model = ServedModel.model_validate(
                {
                    "apiVersion": "windtunnel.dev/v1alpha1",
                    "kind": "ServedModel",
                    "metadata": {"name": "shop"},
                    "spec": spec,
                }
            )
        else:
            spec_now = self.model.spec.model_copy(update=told)
            self.model = self.model.model_copy(update={"spec": spec_now})
        number = record(self.model, Ledger(self.store, "shop"))
        self.model = self.model.model_copy(update={"status": ServedModelStatus(recorded=number)})

    def challenge(self) -> None:
        version = self.train()
        self.judge(version)
        if self.model is None:
            self.act("promotion", version)
        elif self.model.spec.challenger is None:
            spec = self.model.spec.model_copy(update={"challenger": version, "traffic": 5})
            self.model = self.model.model_copy(update={"spec": spec})

    def end(self, action: Literal["promotion", "refusal", "taken_back"]) -> None:
        """The rollout that goes on."""
        if self.model is None or (version := self.model.spec.challenger) is None:
            return
        seat = {"champion": version, "previous": self.model.spec.champion} if action == "promotion" else {}
        self.act(action, version, challenger=None, traffic=0, **seat)

    def by_hand(self) -> None:
        """Another version gets the seat, and the challenger goes without a word."""
        if self.model is None:
            return
        version = self.train()
        seat = {"champion": version, "previous": self.model.spec.champion}
        self.act("promotion", version, challenger=None, traffic=0, **seat)

    def roll_back(self) -> None:
        if self.model is None or (target := self.model.spec.previous) is None:
            return
        self.act("rollback", target, champion=target, previous=None, challenger=None, traffic=0)

    def ask(self) -> None:
        if self.model is None:
            return
        for one in (self.model.spec.champion, self.model.spec.challenger):
            if one is not None:
                hour = int(self.now.timestamp()) // 3600
                self.store.put(object_key("shop", hour, "pod", 0, one.digest), b"log")
                self.answers.append((self.now, one.digest))

    def score(self, which: int) -> None:
        if not self.versions:
            return
        version = self.versions[which % len(self.versions)]
        if not renew(self.store, version.bundle):
            return  # swept: nobody scores with it
        midnight = self.now.replace(hour=0, minute=0, second=0)
        name = f"{version.version}-0-of-1-{short(version.digest)}.parquet"
        self.store.put(f"{hour_folder('shop', midnight, 'scores')}/{name}", b"log")
        self.scored.append((midnight, version.digest))

    def retain(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        """As the stage does it; `meanwhile`: after it has decided what goes."""
        units = contents(self.store, "shop")
        old = old_enough(units, shop(RETENTION), self.now)
        need = needed(
            self.store,
            shop(RETENTION),
            self.model,
            units,
            [unit for unit in units if unit not in old],
            self.now,
        )
        meanwhile()
        sweep(self.store, "shop", [unit for unit in old if not need.holds(unit)])

    def has(self, bundle: str) -> bool:
        """Whether the whole chain behind a bundle is there."""
        snapshot = f"shop/snapshots/{self.snapshots[bundle][7:]}"
        return len(self.store.keys(f"shop/bundles/{bundle[7:]}")) == len(self.store.keys(snapshot)) == 2


STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "challenge",
                "promotion",
                "refusal",
                "taken_back",
                "by_hand",
                "roll_back",
                "ask",
                "score",
                "retain",
            ]
        ),
        st.floats(0, 40),
    ),
    min_size=5,
    max_size=30,
)


@settings(deadline=None, max_examples=25)
@given(STEPS)
def test_behind_every_prediction_that_is_kept_the_whole_chain_is_kept(steps: list[tuple[str, float]]) -> None:
    world = World()
    world.challenge()
    for step, days in steps:
        world.store.now += timedelta(days=days)
        if step in ("promotion", "refusal", "taken_back"):
            world.end(step)  # type: ignore[arg-type]
        elif step == "score":
            world.score(int(days))
        else:
            getattr(world, step)()
    world.retain()
    for at, bundle in world.answers:
        if world.store.keys(hour_folder("shop", at)):
            assert world.has(bundle), f"answered at {at}"
    for at, bundle in world.scored:
        if world.store.keys(hour_folder("shop", at, "scores")):
            assert world.has(bundle), f"scored on {at}"
    assert world.model is not None
    for version in former_champions(world.model):
        assert world.has(version.digest), "somebody may roll back to it"
    Ledger(world.store, "shop").verify()


@settings(deadline=None, max_examples=10)
@given(STEPS)
def test_what_nobody_needs_any_more_is_gone(steps: list[tuple[str, float]]) -> None:
    """A challenger that was refused, whose predictions and records are gone, leaves with its snapshot."""
    world = World()
    world.challenge()
    world.challenge()
    world.end("refusal")
    refused = world.versions[1]
    for step, days in steps:
        world.store.now += timedelta(days=days)
        if step in ("ask", "retain"):
            getattr(world, step)()
    world.store.now += timedelta(days=91)
    world.retain()
    world.retain()
    assert not world.store.keys(f"shop/bundles/{refused.digest[7:]}")
    assert not world.store.keys(f"shop/snapshots/{world.snapshots[refused.digest][7:]}")
    assert world.has(world.versions[0].digest)


def lived() -> World:
    """A champion, and a version that was trained 40 days later and never served; 100 days ago."""
    world = World()
    world.challenge()
    world.store.now += timedelta(days=40)
    world.train()
    world.store.now += timedelta(days=100)
    return world


def test_a_version_that_never_served_goes_and_the_champion_stays() -> None:
    world = lived()
    world.retain()
    assert [world.has(version.digest) for version in world.versions] == [True, False]
    assert not world.store.keys(f"shop/snapshots/{world.snapshots[world.versions[1].digest][7:]}")


def test_what_a_run_found_in_the_cache_lately_stays_though_it_is_old() -> None:
    """A training that found everything in the cache: its version is judged and rolled out now."""
    world = lived()
    assert renew(world.store, world.versions[1].bundle)
    assert renew(
        world.store, world.store.uri(f"shop/snapshots/{world.snapshots[world.versions[1].digest][7:]}")
    )
    world.store.now += timedelta(days=29)
    world.retain()
    assert world.has(world.versions[1].digest)
    world.store.now += timedelta(days=2)
    world.retain()
    assert not world.has(world.versions[1].digest)


def test_what_a_run_is_given_while_a_sweep_goes_on_stays() -> None:
    world = lived()
    world.retain(meanwhile=lambda: renew(world.store, world.versions[1].bundle))
    assert world.has(world.versions[1].digest)


def test_a_sweep_that_ends_early_leaves_no_prediction_without_what_made_it() -> None:
    """Bundles go first, so they go a night after their last prediction."""
    world = World()
    world.challenge()
    world.by_hand()
    world.challenge()
    challenger = world.versions[-1]
    world.ask()
    world.roll_back()
    world.store.now += timedelta(days=91)
    world.retain()
    assert not world.store.keys("shop/predictions")
    assert world.has(challenger.digest)
    world.retain()
    assert not world.has(challenger.digest)


@pytest.mark.parametrize(("decision", "days", "stays"), [("promote", 59, True), ("refuse", 59, False)])
def test_what_passed_the_gate_stays_as_long_as_the_record_of_that(
    decision: str, days: float, stays: bool
) -> None:
    """Airflow asks somebody for approval, who is on holiday."""
    world = lived()
    version = world.train()
    world.judge(version, decision)
    world.store.now += timedelta(days=days)
    world.retain()
    assert world.has(version.digest) == stays


@pytest.mark.parametrize("end", ["roll_back", "by_hand"])
def test_a_challenger_that_was_ended_without_a_word_stays_while_its_predictions_do(end: str) -> None:
    world = World()
    world.challenge()
    world.by_hand()
    world.challenge()
    challenger = world.versions[-1]
    world.store.now += timedelta(days=25)
    world.ask()
    getattr(world, end)()
    for days, there in ((61, True), (30, False)):  # 60: the record of its evaluation goes; 90: the log
        world.store.now += timedelta(days=days)
        world.retain()
        world.retain()
        assert world.has(challenger.digest) == there


def test_two_bundles_that_scored_under_one_version_both_stay() -> None:
    """MLflow was lost, and counts from 1 again; somebody's notes lie beside the scores."""
    world = lived()
    again = world.train().model_copy(update={"version": "2"})
    world.versions[2] = again
    world.score(1)
    world.store.now += timedelta(days=1)
    world.score(2)
    world.store.put(f"{hour_folder('shop', world.now, 'scores')}/2-z-notes.txt", b"mine")
    world.store.now += timedelta(days=60)
    world.retain()
    assert world.has(world.versions[1].digest)
    assert world.has(again.digest)


def test_while_a_file_of_the_log_does_not_tell_who_answered_no_bundle_goes() -> None:
    world = lived()
    world.store.put(f"{hour_folder('shop', world.now)}/copy.parquet", b"log")
    world.retain()
    assert world.has(world.versions[1].digest)


@pytest.mark.parametrize(
    "key",
    [
        "runs/young/evaluate.1.txt",
        "runs/young/evaluate.1.json.bak",
        "runs/young/evaluate.1.json~",
        "ledger/README.md",
    ],
)
def test_what_somebody_put_beside_records_and_ledger_fails_nothing(key: str) -> None:
    world = lived()
    world.judge(world.versions[0], run_id="young")
    obstore.put(world.store._backend, f"shop/{key}", b"mine")
    world.retain()
    assert [world.has(version.digest) for version in world.versions] == [True, False]
    assert world.store.keys(f"shop/{key.partition('/')[0]}") >= {f"shop/{key}"}


def test_while_a_bundle_that_is_needed_has_no_manifest_no_snapshot_goes() -> None:
    """Which was its snapshot, nobody knows; the manifest may come back from a backup."""
    world = lived()
    champion = world.versions[0].digest
    manifest = f"shop/bundles/{champion[7:]}/manifest.json"
    content = world.store.get(manifest)
    world.store.delete(manifest)
    world.retain()
    world.store.put(manifest, content)
    assert world.has(champion)


def test_a_challenger_stays_however_long_its_rollout_waits() -> None:
    world = World()
    world.challenge()
    world.challenge()
    world.store.now += timedelta(days=400)
    world.retain()
    assert world.has(world.versions[1].digest)


def test_when_the_served_model_is_lost_no_bundle_goes() -> None:
    world = lived()
    world.model = None
    units = contents(world.store, "shop")
    need = needed(world.store, shop(RETENTION), None, units, [], world.now)
    assert "is it lost?" in need.all_kept
    assert all(need.holds(unit) for unit in units if unit.kind in ("bundles", "snapshots"))
    assert not [unit for unit in units if unit.kind == "records" and need.holds(unit)]


def test_before_the_first_promotion_what_was_refused_goes() -> None:
    world = World()
    world.train()
    world.store.now += timedelta(days=100)
    world.retain()
    assert not world.has(world.versions[0].digest)


@pytest.mark.parametrize(
    ("key", "content", "error"),
    [
        ("shop/ledger/000001.json", b'{"number": 1, "previous": "sha256:0"}', IntegrityError),
        ("manifest", b"{}", IntegrityError),
        ("record", b"[1]", DataError),
        ("record", b"{", DataError),
        ("record", b'{"outputs": {"verdict": null}}', DataError),
        ("record", b'{"outputs": [1]}', DataError),
    ],
)
def test_nothing_goes_while_something_there_is_not_what_was_written(
    key: str, content: bytes, error: type[Exception]
) -> None:
    world = lived()
    world.judge(world.versions[0], run_id="young")
    places = {
        "manifest": f"shop/bundles/{world.versions[0].digest[7:]}/manifest.json",
        "record": "shop/runs/young/evaluate.1.json",
    }
    world.store.put(places.get(key, key), content)
    before = world.store.keys()
    with pytest.raises(error):
        world.retain()
    assert world.store.keys() == before
