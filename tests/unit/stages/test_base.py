"""The cache of stages: the same work is never done twice, and never left undone."""

from __future__ import annotations

import dataclasses
import logging
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from windtunnel.errors import DataError, SpecError
from windtunnel.objects import digest
from windtunnel.records import read_records
from windtunnel.stages import base
from windtunnel.stages.base import Reference, StageEnv, StageRequest, StageResult, execute, load_stage

if TYPE_CHECKING:
    from collections.abc import Iterator


class CountingStage(SimpleNamespace):
    """Stands in for the module of `extract`: writes one object and counts its runs."""

    runs = 0
    failure: BaseException | None = None
    cacheable = True

    def identity(self, request: StageRequest, env: StageEnv) -> dict[str, Any] | None:
        return {"day": request.params["day"], "lifecycle": env.lifecycle.digest} if self.cacheable else None

    def run(self, request: StageRequest, env: StageEnv) -> StageResult:
        self.runs += 1
        if self.failure:
            raise self.failure
        key = f"demo/partitions/{request.params['day']}"
        env.store.put(key, b"rows")
        reference = Reference("partitions", env.store.uri(key), digest(b"rows"), rows=1, bytes=4)
        return StageResult({"partitions": reference}, {"run": self.runs})


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> CountingStage:
    module = CountingStage()
    monkeypatch.setitem(sys.modules, "windtunnel.stages.extract", module)  # type: ignore[arg-type]
    return module


@pytest.fixture(autouse=True)
def _logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.INFO):
        yield


def request(day: str = "2026-01-01", try_number: int = 1, **params: object) -> StageRequest:
    return StageRequest("demo", "extract", "run-1", try_number, {"day": day, **params})


def test_the_second_time_comes_from_the_cache(
    stage: CountingStage, stage_env: StageEnv, caplog: pytest.LogCaptureFixture
) -> None:
    first = execute("extract", request(), stage_env)
    second = execute("extract", request(try_number=2), stage_env)
    assert (stage.runs, first.cached, second.cached) == (1, False, True)
    assert second == dataclasses.replace(first, cached=True)
    assert "cached: demo/cache/extract/" in caplog.text
    assert [record["cached"] for record in read_records(stage_env.store, "demo")] == [False, True]


def test_another_input_is_other_work(stage: CountingStage, stage_env: StageEnv) -> None:
    execute("extract", request("2026-01-01"), stage_env)
    assert not execute("extract", request("2026-01-02"), stage_env).cached


def test_an_edit_of_the_lifecycles_code_is_other_work(stage: CountingStage, stage_env: StageEnv) -> None:
    execute("extract", request(), stage_env)
    (stage_env.directory / "features.py").write_text("# edited\n")
    assert not execute("extract", request(), stage_env).cached


def test_another_library_is_other_work(
    stage: CountingStage, stage_env: StageEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute("extract", request(), stage_env)
    monkeypatch.setattr(base, "libraries_digest", lambda: "sha256:another")
    assert not execute("extract", request(), stage_env).cached


def test_force_does_it_anew_and_refreshes_the_cache(stage: CountingStage, stage_env: StageEnv) -> None:
    execute("extract", request(), stage_env)
    assert not execute("extract", request(try_number=2, force=True), stage_env).cached
    assert execute("extract", request(try_number=3), stage_env).facts == {"run": 2}
    assert stage.runs == 2


def test_a_result_whose_output_is_gone_is_made_again(stage: CountingStage, stage_env: StageEnv) -> None:
    result = execute("extract", request(), stage_env)
    stage_env.store.delete(stage_env.store.key(result.outputs["partitions"].uri))
    assert not execute("extract", request(try_number=2), stage_env).cached


@pytest.mark.parametrize("lost", ["manifest.json", "model.onnx"])
def test_a_bundle_of_which_a_part_is_gone_is_made_again(
    stage: CountingStage, stage_env: StageEnv, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    """As a sweep leaves it that is killed halfway."""
    folder = "demo/bundles/" + "a" * 64

    def run(request: StageRequest, env: StageEnv) -> StageResult:
        env.store.put(f"{folder}/model.onnx", b"model")
        env.store.put(f"{folder}/manifest.json", b'{"files": {"model.onnx": "sha256:0"}}')
        return StageResult({"bundle": Reference("bundle", env.store.uri(folder), "sha256:0")})

    monkeypatch.setattr(stage, "run", run)
    execute("extract", request(), stage_env)
    assert execute("extract", request(try_number=2), stage_env).cached
    stage_env.store.delete(f"{folder}/{lost}")
    assert not execute("extract", request(try_number=3), stage_env).cached
    assert execute("extract", request(try_number=4), stage_env).cached


def test_a_stage_may_say_that_its_result_is_gone(stage: CountingStage, stage_env: StageEnv) -> None:
    execute("extract", request(), stage_env)
    stage.still_there = lambda result, env: False  # noqa: ARG005 - the protocol's names
    assert not execute("extract", request(try_number=2), stage_env).cached


def test_what_has_no_identity_is_never_cached(stage: CountingStage, stage_env: StageEnv) -> None:
    stage.cacheable = False
    execute("extract", request(), stage_env)
    assert not execute("extract", request(try_number=2), stage_env).cached
    assert stage_env.store.list("demo/cache") == []


@pytest.mark.parametrize(
    ("failure", "said", "reason"),
    [
        (DataError("no rows", where="orders"), "orders: no rows", "data_error"),
        (ZeroDivisionError("oh"), "ZeroDivisionError: oh", "platform_error"),
        (SystemExit(143), "ended from outside", "stopped"),
    ],
)
def test_a_failure_leaves_a_record_with_its_reason_and_no_cache(
    stage: CountingStage, stage_env: StageEnv, failure: BaseException, said: str, reason: str
) -> None:
    stage.failure = failure
    with pytest.raises(type(failure)):
        execute("extract", request(), stage_env)
    [record] = read_records(stage_env.store, "demo")
    assert (record["outcome"], record["error"], record["reason"]) == ("failed", said, reason)
    assert stage_env.store.list("demo/cache") == []


def test_what_the_kernel_killed_for_memory_is_the_reason_whatever_it_made_the_stage_raise(
    stage: CountingStage, stage_env: StageEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    kills = iter([2, 3])
    monkeypatch.setattr(base.cgroup, "oom_kills", lambda: next(kills))
    stage.failure = RuntimeError("a worker of the pool died")
    with pytest.raises(RuntimeError):
        execute("extract", request(), stage_env)
    [record] = read_records(stage_env.store, "demo")
    assert record["reason"] == "out_of_memory"


def test_an_unknown_stage_names_the_known_ones() -> None:
    with pytest.raises(SpecError, match="there is no stage 'trian'; the stages are extract, transform"):
        load_stage("trian")
