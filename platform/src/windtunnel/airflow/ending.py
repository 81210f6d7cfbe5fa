"""How a stage ended, in plain words: what happened, and what to do about it."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from windtunnel import errors

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
    """`permanent` means that a retry cannot help."""

    message: str
    permanent: bool = False


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
        if self.timed_out:
            return Failure(
                f"timeout: {self.stage} ran longer than {self.timed_out}; give it more time in "
                f"lifecycle.yaml stages.{self.stage}.timeout, or a larger class"
            )
        if self.code != 0 and self.oom_kills > 0:
            return self._out_of_memory()
        if self.stopped and self.code != 0:
            return Failure(f"{self.stage} was stopped: its pod is being deleted, or somebody ended the task")
        if self.code == 0:
            return None if self._has_result() else Failure(f"{self.stage} ended without writing a result")
        error = (self.answer or {}).get("error")
        return self._told(error) if isinstance(error, dict) else self._untold()

    def _has_result(self) -> bool:
        return self.answer is not None and "outputs" in self.answer

    def _out_of_memory(self) -> Failure:
        limit = f" of {self.memory_limit // _MIB} MiB" if self.memory_limit else ""
        return Failure(
            f"out of memory: {self.stage} used its limit{limit}; choose a class larger than "
            f"{self.stage_class!r} in lifecycle.yaml stages.{self.stage}.class"
        )

    def _told(self, error: Mapping[str, Any]) -> Failure:
        """The stage itself said what went wrong."""
        if self.code == errors.EXIT_UNEXPECTED:
            what = (
                f"{error.get('what', 'an unexpected exception')}, at {error.get('where', 'an unknown place')}"
            )
            return Failure(f"{self.stage} raised {what}{self._last_lines()}")
        problem = errors.from_json(dict(error))
        kind = "data error" if isinstance(problem, errors.DataError) else type(problem).__name__
        return Failure(f"{self.stage}: {kind}: {problem}", permanent=self.code == errors.EXIT_PERMANENT)

    def _untold(self) -> Failure:
        if self.code < 0:
            return Failure(f"{self.stage} {_signal_words(-self.code)}{self._last_lines()}")
        if self.code > 128:
            return Failure(f"{self.stage} {_signal_words(self.code - 128)}{self._last_lines()}")
        if self.code in (126, 127):
            return Failure(f"{self.stage} could not be started (exit code {self.code}){self._last_lines()}")
        return Failure(
            f"{self.stage} ended with exit code {self.code} and no result{self._last_lines()}",
            permanent=self.code == errors.EXIT_PERMANENT,
        )

    def _last_lines(self) -> str:
        lines = [line for line in self.tail if line.strip()][-_TRACEBACK_LINES:]
        return "; its last lines:\n" + "\n".join(lines) if lines else ""


def _signal_words(number: int) -> str:
    try:
        name = signal.Signals(number)
    except ValueError:
        return f"ended by an unknown signal ({number})"
    return _SIGNALS.get(name, f"ended by {name.name}")
