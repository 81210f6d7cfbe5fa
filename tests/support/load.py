"""Steady load on a served model, every request accounted for."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

WORKER = Path(__file__).with_name("load_worker.py")


class Asked(NamedTuple):
    """One request and what came of it."""

    due: float
    """When it was to be sent, in seconds of the epoch."""
    late: float
    """Seconds from then until the answer: what a user waits, the load tool's own delays included."""
    seconds: float
    """Seconds from its sending until the answer."""
    fresh: bool
    """On a connection of its own."""
    status: int
    """0: no answer, for the reason in `error`."""
    error: str
    version: str
    role: str
    """champion, challenger, or fallback: the champion in the challenger's stead."""
    value: float | None
    prediction_id: str

    @property
    def failed(self) -> bool:
        return self.status != 200


@dataclass(frozen=True)
class Phase:
    """A part of the load, by when requests were due."""

    name: str
    start: float
    end: float
    asked: tuple[Asked, ...]

    @property
    def failures(self) -> list[Asked]:
        return [one for one in self.asked if one.failed]

    def percentile(self, share: float) -> float:
        """Milliseconds within which that share of the requests was answered."""
        seconds = sorted(one.late for one in self.asked)
        return 1000 * seconds[min(len(seconds) - 1, math.ceil(share * len(seconds)) - 1)] if seconds else 0.0

    def __str__(self) -> str:
        text = f"{self.name:<28} {self.end - self.start:6.1f} s {len(self.asked):6d} requests"
        text += f"  p50 {self.percentile(0.5):6.2f} ms  p99 {self.percentile(0.99):7.2f} ms"
        text += f"  longest {self.percentile(1):8.1f} ms  {len(self.failures)} failed"
        kinds = Counter(
            f"{one.status} {one.error[:120]} {'fresh' if one.fresh else 'kept'}" for one in self.failures
        )
        return text + "".join(f"\n    {count} times: {kind}" for kind, count in kinds.most_common(5))


class Load:
    """A running load; see `steady`."""

    def __init__(self, process: subprocess.Popen[str], output: Path) -> None:
        self._process = process
        self._output = output
        self._read = 0
        self._ended = False
        self._asked: list[Asked] = []
        self._marks: list[tuple[str, float]] = []

    def send(self, bodies: Sequence[dict[str, Any]]) -> None:
        """Send these in turn from now on; each request gets its number as its key."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(list(bodies)) + "\n")
        self._process.stdin.flush()

    def mark(self, name: str) -> float:
        """A phase of that name begins now, the one before it ends; returns the time."""
        self._marks.append((name, time.time()))
        return self._marks[-1][1]

    @property
    def asked(self) -> list[Asked]:
        """All answers so far, in the order in which they came."""
        if not self._ended:
            with self._output.open() as file:
                file.seek(self._read)
                while (line := file.readline()).endswith("\n"):
                    self._asked.append(Asked(*json.loads(line)))
                    self._read = file.tell()
        return self._asked

    def end(self) -> int:
        """Send no more, wait for what is under way, read it; returns the tool's exit code."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            code = self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self.asked  # noqa: B018 (the last time that there is something to read)
        self._ended = True
        return code

    def since(self, moment: float) -> list[Asked]:
        """Those that were due since then."""
        return [one for one in self.asked if one.due >= moment]

    @property
    def failures(self) -> list[Asked]:
        return [one for one in self.asked if one.failed]

    def phases(self) -> list[Phase]:
        """Call it when the load has ended."""
        asked = sorted(self.asked, key=lambda one: one.due)
        last = asked[-1].due if asked else 0.0
        ends = [start for _, start in self._marks[1:]] + [last]
        return [
            Phase(name, start, end, tuple(one for one in asked if start <= one.due < end))
            for (name, start), end in zip(self._marks, ends, strict=True)
        ]

    def report(self) -> str:
        return "\n".join(map(str, self.phases()))


@contextmanager
def steady(
    address: tuple[str, int],
    path: str,
    bodies: Sequence[dict[str, Any]],
    rate: float = 100.0,
    fresh: float = 0.5,
) -> Iterator[Load]:
    """`rate` requests a second while the block runs, the share `fresh` of them on connections of their own.

    Raises AssertionError at the end if the load tool itself failed.
    """
    with tempfile.TemporaryDirectory() as directory:
        output, errors = Path(directory, "asked"), Path(directory, "errors")
        with output.open("w") as out, errors.open("w") as err:
            process = subprocess.Popen(
                [
                    sys.executable, str(WORKER), address[0], str(address[1]), path,
                    f"--rate={rate}", f"--fresh={fresh}",
                ],
                stdin=subprocess.PIPE, stdout=out, stderr=err, text=True,
            )  # fmt: skip
        load = Load(process, output)
        try:
            load.send(bodies)
            load.mark("before")
            yield load
        finally:
            code = load.end()
        assert code == 0, errors.read_text()
