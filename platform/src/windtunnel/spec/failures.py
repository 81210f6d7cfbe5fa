"""Why a stage failed, in one word: the same in its record, in the task log, in the metric and in the alert.

`docs/runbooks/stage-failures.md` says of each what to do. A stage's own process names what it can; what kills
the process is named by the operator beside it, and what kills the whole pod by the watcher of stage pods.
"""

from __future__ import annotations

import traceback
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windtunnel import errors

if TYPE_CHECKING:
    from collections.abc import Mapping


class Reason(StrEnum):
    """Why a try of a stage failed."""

    OUT_OF_MEMORY = "out_of_memory"
    """The kernel killed it for want of memory, or an allocation failed."""
    EVICTED = "evicted"
    """Its node took the pod away: short of memory or disk, shut down, gone, or given to a pod that matters
    more."""
    IMAGE_PULL = "image_pull"
    """The image of its pod could not be had."""
    TIMEOUT = "timeout"
    """It ran into its time limit."""
    USER_EXCEPTION = "user_exception"
    """The lifecycle's own code raised, or its lifecycle.yaml or the run's params are wrong."""
    DATA_ERROR = "data_error"
    """Rows, columns or labels are not what the lifecycle declares."""
    PLATFORM_ERROR = "platform_error"
    """A store, the registry or the cluster did not do its part, or Windtunnel has a bug."""
    STOPPED = "stopped"
    """Somebody ended the task, or deleted its pod."""
    CRASHED = "crashed"
    """Its process ended without a word: a fault in native code, or an exit that nobody asked for."""
    UNKNOWN = "unknown"
    """Nobody could tell."""


# What is permanent and no error of these was refused by a store, the registry or the cluster.
_OURS: tuple[tuple[type[errors.WindtunnelError], Reason], ...] = (
    (errors.DataError, Reason.DATA_ERROR),
    (errors.SpecError, Reason.USER_EXCEPTION),
    (errors.RequestError, Reason.USER_EXCEPTION),
    (errors.WindtunnelError, Reason.PLATFORM_ERROR),
)


def reason_of(error: BaseException, lifecycle: Path) -> Reason:
    """The reason that an exception in a stage's process stands for.

    `lifecycle` is the directory of the user's code: its exceptions are the user's, all others the platform's.
    """
    if isinstance(error, MemoryError) or isinstance(error.__cause__, MemoryError):
        return Reason.OUT_OF_MEMORY
    for kind, reason in _OURS:
        if isinstance(error, kind):
            return reason
    if isinstance(error, SystemExit | KeyboardInterrupt):
        return Reason.STOPPED
    if type(error).__module__.partition(".")[0] == "pandera":
        # A schema of the user's, called by the user's code.
        return Reason.DATA_ERROR
    return Reason.USER_EXCEPTION if is_of(error, lifecycle) else Reason.PLATFORM_ERROR


def is_of(error: BaseException, lifecycle: Path) -> bool:
    """Whether an exception went through code in this directory."""
    root = lifecycle.resolve()
    frames = traceback.extract_tb(error.__traceback__)
    return any(Path(frame.filename).is_relative_to(root) for frame in frames)


def recorded_reason(record: Mapping[str, Any]) -> Reason | None:
    """The reason in a stage record's JSON: None for a success, `unknown` where an older record has none."""
    return None if record.get("outcome") == "success" else named(record.get("reason"))


def named(word: object) -> Reason:
    """The reason of that name; `unknown` for what is none."""
    try:
        return Reason(str(word))
    except ValueError:
        return Reason.UNKNOWN
