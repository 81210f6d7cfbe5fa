"""How a stage ended, in plain words: what happened, and what to do about it."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from windtunnel import errors
from windtunnel.spec.failures import Reason, named

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_TRACEBACK_LINES = 6
_MIB = 1 << 20
_SIGNALS = {
    signal.SIGKILL: "was killed from outside (SIGKILL), not for want of memory; see the events of its pod",
    signal.SIGTERM: "was asked to end (SIGTERM)",
    signal.SIGSEGV: "crashed in native code (SIGSEGV); the log's last lines name the library",
    signal.SIGABRT: "aborted in native code (SIGABRT); the log's last lines say why",
    signal.SIGBUS: "crashed on memory that could not be read (SIGBUS), often a full disk under a mapped file",
    signal.SIGILL: "met an instruction that this processor lacks (SIGILL); use a node or a build that fits",
}


@dataclass(frozen=True)
class Failure:
    """Why a stage failed; `permanent` means that a retry cannot help."""

    reason: Reason
    what: str
    permanent: bool = False

    @property
    def message(self) -> str:
        """As the task log ends; the reason is the same word as in the record, the metric and the alert."""
        return f"{self.reason}: {self.what}"


def out_of_memory(stage: str, stage_class: str, limit: int | None) -> Failure:
    """`limit` in bytes, where it is known."""
    of = f" of {limit // _MIB} MiB" if limit else ""
    return Failure(
        Reason.OUT_OF_MEMORY,
        f"{stage} used its limit{of}; choose a class larger than {stage_class!r} in lifecycle.yaml "
        f"stages.{stage}.class",
    )


@dataclass(frozen=True)
class Ending:
    """What is known when a stage's process is gone."""

    stage: str
    stage_class: str
    code: int
    """Exit code; negative for a signal."""
    answer: Mapping[str, Any] | None = None
    """What it wrote as its result, if it did."""
    timed_out: str = ""
    """The time limit that it ran into."""
    stopped: bool = False
    """Whether it was told to stop."""
    oom_kills: int = 0
    """Processes of the container that the kernel killed for memory while it ran."""
    memory_limit: int | None = None
    """Bytes."""
    tail: Sequence[str] = field(default_factory=tuple)
    """The last lines of its log."""

    @property
    def failure(self) -> Failure | None:
        """None when it ended well."""
        if self.code != 0 and self.oom_kills > 0:
            # Before the time limit: who waits for a process that was killed waits until its time is up.
            return out_of_memory(self.stage, self.stage_class, self.memory_limit)
        if self.timed_out:
            return Failure(
                Reason.TIMEOUT,
                f"{self.stage} ran longer than {self.timed_out}; give it more time in "
                f"lifecycle.yaml stages.{self.stage}.timeout, or a larger class",
            )
        if self.stopped and self.code != 0:
            return Failure(
                Reason.STOPPED,
                f"{self.stage} was stopped: its pod is being deleted, or somebody ended the task",
            )
        if self.code == 0:
            return None if self._has_result() else self._crashed("ended without writing a result")
        error = (self.answer or {}).get("error")
        return self._told(error) if isinstance(error, dict) else self._untold()

    def _has_result(self) -> bool:
        return self.answer is not None and "outputs" in self.answer

    def _told(self, error: Mapping[str, Any]) -> Failure:
        """The stage itself said what went wrong."""
        reason = named(error.get("reason"))
        if self.code == errors.EXIT_UNEXPECTED:
            what = (
                f"{error.get('what', 'an unexpected exception')}, at {error.get('where', 'an unknown place')}"
            )
            return Failure(reason, f"{self.stage} raised {what}{self._last_lines()}")
        problem = errors.from_json(dict(error))
        kind = "" if isinstance(problem, errors.DataError) else f"{type(problem).__name__}: "
        permanent = self.code == errors.EXIT_PERMANENT
        return Failure(reason, f"{self.stage}: {kind}{problem}", permanent)

    def _untold(self) -> Failure:
        if self.code == errors.EXIT_TERMINATED:
            return Failure(Reason.STOPPED, f"{self.stage} {_signal_words(signal.SIGTERM)}")
        if self.code < 0 or self.code > 128:
            return self._crashed(_signal_words(-self.code if self.code < 0 else self.code - 128))
        if self.code in (126, 127):
            return self._crashed(f"could not be started (exit code {self.code})")
        return self._crashed(f"ended with exit code {self.code} and no result")

    def _crashed(self, how: str) -> Failure:
        permanent = self.code == errors.EXIT_PERMANENT
        return Failure(Reason.CRASHED, f"{self.stage} {how}{self._last_lines()}", permanent)

    def _last_lines(self) -> str:
        lines = [line for line in self.tail if line.strip()][-_TRACEBACK_LINES:]
        return "; its last lines:\n" + "\n".join(lines) if lines else ""


def _signal_words(number: int) -> str:
    try:
        name = signal.Signals(number)
    except ValueError:
        return f"ended by an unknown signal ({number})"
    return _SIGNALS.get(name, f"ended by {name.name}")
