"""Preflight: a bundle is looked at before serving pods are asked to take it.

It is loaded in a process of its own as serving loads it: digests verified, golden requests replayed, under
the memory that a challenger gets in a serving pod (half of the pod's limit). So a bundle that is broken,
answers otherwise than the trained model did, needs too much memory or is much slower than the champion never
reaches a pod. Serving pods rehearse it once more in their own image.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from windtunnel.errors import IntegrityError, PermanentError, TemporaryError, from_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from windtunnel.spec.servedmodel import ModelVersion

_LONGEST_SECONDS: Final = 120.0
_NEVER_SLOW: Final = 0.002
"""Seconds; nobody notices (as the guard has it)."""
_UNITS: Final = {
    **{"": 1.0, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12},
    **{"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40},
}
_ENVIRONMENT: Final = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
"""As serving starts a challenger."""


@dataclass(frozen=True)
class Flight:
    """What was measured."""

    requests: int
    """Golden requests that were answered rightly."""
    seconds: float | None
    """Time of a single row; None without golden requests."""
    memory: int
    """Bytes that the process took at most, its libraries among them."""

    def __str__(self) -> str:
        time = "" if self.seconds is None else f", {1e6 * self.seconds:,.0f} µs a row"
        return f"{self.requests:,} golden requests answered as trained{time}, {self.memory / 2**20:,.0f} MiB"


def fly(
    lifecycle: str, version: ModelVersion, store: str, memory_limit: str, environ: Mapping[str, str]
) -> Flight:
    """Load, rehearse and time a bundle; `memory_limit` is the serving pod's, a Kubernetes quantity.

    Raises IntegrityError for wrong content or answers, NotFoundError, PermanentError when the memory does not
    suffice or the process ends otherwise, StoreError.
    """
    memory = quantity(memory_limit) // 2
    command = [
        sys.executable, "-m", "windtunnel.registry.preflight_process",
        "--memory", str(memory),
        "--store", store,
        "--lifecycle", lifecycle,
        "--version", version.version,
        "--bundle", version.bundle,
        "--digest", version.digest,
    ]  # fmt: skip
    try:
        done = subprocess.run(
            command,
            env={**environ, **_ENVIRONMENT},
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_LONGEST_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise TemporaryError(
            f"loading and rehearsing the bundle takes more than {_LONGEST_SECONDS:.0f} s",
            where=version.bundle,
        ) from error
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        mib = f"{memory / 2**20:,.0f} MiB"
        raise PermanentError(
            f"it does not load within {mib}, half of the serving pod's limit: {last[:300]}",
            where=version.bundle,
            fix="raise serving.resources.limits.memory in lifecycle.yaml, or train a smaller model",
        )
    answer = json.loads(done.stdout)
    if "error" in answer:
        raise from_json(answer["error"])
    return Flight(answer["requests"], answer["seconds"], answer["memory"])


def compare(challenger: Flight, champion: Flight, most: float) -> None:
    """Raise IntegrityError when a row takes more than `most` times what it takes the champion."""
    own, theirs = challenger.seconds, champion.seconds
    if own is None or theirs is None or own <= max(_NEVER_SLOW, most * theirs):
        return
    raise IntegrityError(
        f"a row takes {1e3 * own:.2f} ms, more than {most:g} times the champion's {1e3 * theirs:.2f} ms",
        fix="train a faster model, or raise rollout.guard.maxLatencyRatio in lifecycle.yaml",
    )


def quantity(text: str) -> int:
    """Bytes of a Kubernetes quantity. Raises PermanentError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([a-zA-Z]*)", text)
    if match is None or match[2] not in _UNITS:
        raise PermanentError(f"{text!r} is no amount of memory", fix="write e.g. 512Mi")
    return int(float(match[1]) * _UNITS[match[2]])
