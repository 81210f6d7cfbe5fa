"""How a stage runs: requests in, results out, the same work never done twice.

A stage is a module of this package with two functions:

    identity(request, env) -> dict | None   what the answer depends on (JSON); None: never cached
    run(request, env) -> StageResult        do it; idempotent

and, where a result lives outside the object store (an online store, a registry), a third:

    still_there(result, env) -> bool        is what a cached result names still there?

and, where others are to hear of every run that came to its end, cached or not, a fourth:

    tell(request, result, env) -> None      may be called again for the same run
"""

from __future__ import annotations

import importlib
import json
import os
import socket
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import distributions
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import windtunnel
from windtunnel import cgroup
from windtunnel.digests import canonical_json, digest, digest_directory, digest_files
from windtunnel.errors import SpecError, WindtunnelError
from windtunnel.records import StageRecord, Usage, write_record
from windtunnel.registry.renewal import renew
from windtunnel.spec.failures import Reason, reason_of
from windtunnel.spec.stages import STAGES, Reference, StageRequest, StageResult

if TYPE_CHECKING:
    import logging

    from windtunnel.objects import ObjectStore
    from windtunnel.settings import Settings
    from windtunnel.spec.lifecycle import Lifecycle

__all__ = ["Reference", "StageEnv", "StageModule", "StageRequest", "StageResult", "execute", "load_stage"]

# What stages never import cannot change their answers.
_NOT_BEHIND_STAGES = {"airflow", "cli", "controller", "exporter", "local", "serving"}


@dataclass(frozen=True)
class StageEnv:
    """What a stage may use."""

    settings: Settings
    store: ObjectStore
    lifecycle: Lifecycle
    directory: Path
    """The lifecycle's directory: lifecycle.yaml, features.py, train.py."""
    work: Path
    """A temporary directory, removed afterwards."""
    log: logging.Logger

    @property
    def code_version(self) -> str:
        """What stamps models and records: the platform's word, or the digest of the lifecycle's files."""
        return self.settings.code_version or digest_directory(self.directory)


class StageModule(Protocol):
    def identity(self, request: StageRequest, env: StageEnv) -> dict[str, Any] | None: ...
    def run(self, request: StageRequest, env: StageEnv) -> StageResult: ...


def load_stage(name: str) -> StageModule:
    """Import the module of a stage; only that one, they are heavy."""
    if name not in STAGES:
        raise SpecError(f"there is no stage {name!r}", fix=f"the stages are {', '.join(STAGES)}")
    return cast("StageModule", importlib.import_module(f"windtunnel.stages.{name}"))


def execute(name: str, request: StageRequest, env: StageEnv) -> StageResult:
    """Run a stage, or find its result under its key; either way leave a stage record."""
    usage = Usage()
    started = datetime.now(UTC)
    result: StageResult | None = None
    error, reason, killed_before = "", None, cgroup.oom_kills()
    try:
        module = load_stage(name)
        answer = _cached_or_run(module, request, env)
        if tell := getattr(module, "tell", None):
            tell(request, answer, env)
        result = answer
        return result
    except BaseException as problem:
        error, reason = _in_words(problem), reason_of(problem, env.directory)
        if cgroup.oom_kills() > killed_before:
            # A process that this one had started: what it raises about that is no more than the echo.
            reason = Reason.OUT_OF_MEMORY
        raise
    finally:
        record = StageRecord(
            stage=name,
            run_id=request.run_id,
            try_number=request.try_number,
            map_index=request.params.get("map_index"),
            started=started,
            ended=datetime.now(UTC),
            usage=usage.measure(),
            result=result,
            error=error,
            pod=os.environ.get("POD_NAME") or socket.gethostname(),
            spec_digest=env.lifecycle.digest,
            code_version=env.code_version,
            view=str(request.params.get("view", "")),
            reason=reason,
            because=str(request.params.get("reason") or ""),
            stage_class=env.settings.stage_class,
            price_per_hour=env.settings.price_per_hour,
        )
        write_record(env.store, env.lifecycle.name, record, env.log)


def _in_words(error: BaseException) -> str:
    if isinstance(error, WindtunnelError):
        return str(error)
    return "ended from outside" if isinstance(error, SystemExit) else f"{type(error).__name__}: {error}"


def _cached_or_run(module: StageModule, request: StageRequest, env: StageEnv) -> StageResult:
    identity = module.identity(request, env)
    if identity is None:
        return module.run(request, env)
    key = _cache_key(request.stage, identity, env)
    if not request.params.get("force"):
        found = _look_up(key, module, env)
        if found is not None:
            env.log.info("cached: %s", key)
            return found
    result = module.run(request, env)
    # Last writer wins: a forced run replaces what was there, and equal keys mean equal results.
    env.store.put(key, canonical_json(result.to_json()))
    return result


def _cache_key(stage: str, identity: dict[str, Any], env: StageEnv) -> str:
    content = {
        "stage": stage,
        "identity": identity,
        "lifecycle": digest_directory(env.directory),
        "platform": platform_digest(),
        "libraries": libraries_digest(),
    }
    name = digest(canonical_json(content)).removeprefix("sha256:")
    return f"{env.lifecycle.name}/cache/{stage}/{name}.json"


def _look_up(key: str, module: StageModule, env: StageEnv) -> StageResult | None:
    if not env.store.exists(key):
        return None
    result = replace(StageResult.from_json(json.loads(env.store.get(key))), cached=True)
    still_there = getattr(module, "still_there", None)
    if still_there is not None and not still_there(result, env):
        return None
    return result if all(_output_exists(output, env.store) for output in result.outputs.values()) else None


def _output_exists(output: Reference, store: ObjectStore) -> bool:
    """Whether an output in the object store is (still) there, and from now on kept for a while; others are
    their stage's to judge."""
    if not output.uri.startswith(store.url + "/"):
        return True
    if output.kind in ("bundle", "snapshot"):
        return renew(store, output.uri)
    key = store.key(output.uri.rstrip("/"))
    return store.exists(key) or bool(store.list(key))


@cache
def platform_digest() -> str:
    """Digest of the platform's code that can change an answer: the cache never hides an edit."""
    root = Path(windtunnel.__file__).parent
    files = (p for p in root.rglob("*.py") if p.relative_to(root).parts[0] not in _NOT_BEHIND_STAGES)
    return digest_files(root, files)


@cache
def libraries_digest() -> str:
    """Digest of the installed distributions: another scikit-learn may give another model."""
    installed = {(found.name, found.version) for found in distributions()}
    return digest(canonical_json(sorted(f"{name}=={version}" for name, version in installed)))
