"""`python -m windtunnel.stages NAME --request FILE|- --result FILE`: one stage in this process.

Exit codes: 0 done, 1 unexpected exception (traceback in the log), 2 permanent error, 75 temporary error,
143 ended by SIGTERM. The result file holds a StageResult, or {"error": {kind, what, where, fix, permanent}}.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import socket
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from windtunnel.errors import (
    EXIT_OK,
    EXIT_TERMINATED,
    EXIT_UNEXPECTED,
    PermanentError,
    RequestError,
    WindtunnelError,
    exit_code,
)
from windtunnel.objects import open_store
from windtunnel.settings import Settings
from windtunnel.spec import load_lifecycle
from windtunnel.spec.failures import Reason, reason_of
from windtunnel.spec.stages import StageRequest
from windtunnel.stages.base import StageEnv, execute

if TYPE_CHECKING:
    from collections.abc import Sequence

# After SIGTERM, so long may cleaning up take before the process just ends.
GRACE_SECONDS = 3.0


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    log = _logger()
    result = Path(args.result)
    try:
        answer = _run(args.stage, args.request, log)
        code = EXIT_OK
    except WindtunnelError as error:
        log.error("%s: %s", type(error).__name__, error)
        answer, code = {"error": {**error.to_json(), "reason": _reason(error)}}, exit_code(error)
    except Exception as error:
        log.error("%s", "".join(traceback.format_exception(error)).rstrip())
        answer, code = {"error": _unexpected(error)}, EXIT_UNEXPECTED
    _write(result, answer)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m windtunnel.stages", description="Run one stage.")
    parser.add_argument("stage")
    parser.add_argument(
        "--request", required=True, help="file with a StageRequest as JSON; - for standard input"
    )
    parser.add_argument("--result", required=True, help="file to write the StageResult, or the error, to")
    return parser


def _logger() -> logging.Logger:
    logging.basicConfig(
        level=logging.WARNING,
        stream=sys.stderr,
        format="%(asctime)s %(message)s",
        datefmt="%H:%M:%S",
        force=True,
    )
    log = logging.getLogger("windtunnel.stage")
    log.setLevel(logging.INFO)
    return log


def _run(stage: str, source: str, log: logging.Logger) -> dict[str, Any]:
    request = _read_request(source)
    if request.stage != stage:
        raise RequestError(f"the request is for stage {request.stage!r}, not {stage!r}", where=source)
    settings = Settings.from_environment(os.environ)
    directory = (settings.lifecycles / request.lifecycle).resolve()
    lifecycle = load_lifecycle(directory)
    # User code imports its own modules by plain names.
    sys.path.insert(0, str(directory))
    with tempfile.TemporaryDirectory(prefix=f"windtunnel-{stage}-") as work:
        env = StageEnv(
            settings=settings,
            store=open_store(settings.store, os.environ),
            lifecycle=lifecycle,
            directory=directory,
            work=Path(work),
            log=log,
        )
        return execute(stage, request, env).to_json()


def _read_request(source: str) -> StageRequest:
    try:
        text = sys.stdin.read() if source == "-" else Path(source).read_text(encoding="utf-8")
        return StageRequest.from_json(json.loads(text))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RequestError(f"this is no stage request: {error}", where=source) from error


def _unexpected(error: Exception) -> dict[str, Any]:
    """Name the exception and the innermost line of the user's code, or else of ours, that it came from."""
    frames = traceback.extract_tb(error.__traceback__)
    real = [frame for frame in frames if not frame.filename.startswith("<")]
    users = [frame for frame in real if sys.path[0] and frame.filename.startswith(sys.path[0] + os.sep)]
    frame = (users or real)[-1]
    problem = PermanentError(
        f"{type(error).__name__}: {error}",
        where=f"{frame.filename}:{frame.lineno}",
        fix="the traceback is in the log above",
    )
    return {**problem.to_json(), "kind": type(error).__name__, "reason": _reason(error)}


def _reason(error: Exception) -> Reason:
    """The user's code is first on the module path, once it is known where it is."""
    return reason_of(error, Path(sys.path[0]))


def _write(path: Path, answer: dict[str, Any]) -> None:
    """Whole or not at all: a reader never sees half a result."""
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(json.dumps(answer), encoding="utf-8")
    temporary.replace(path)


class _Terminator:
    """Ends the process after SIGTERM: by an exception, so that temporary files go; by force after a grace.

    Python's handlers wait until native code returns (a long fit does not), but the wakeup descriptor is
    written at once, so the thread that reads it always gets its turn.
    """

    def __init__(self, grace_seconds: float) -> None:
        self._grace = grace_seconds
        self._reader, self._writer = socket.socketpair()

    def install(self) -> None:
        self._writer.setblocking(False)
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._leave)
        threading.Thread(target=self._watch, daemon=True).start()

    @staticmethod
    def _leave(signum: int, frame: object) -> NoReturn:  # noqa: ARG004 - the signature of a handler
        raise SystemExit(EXIT_TERMINATED)

    def _watch(self) -> None:
        while signal.SIGTERM not in self._reader.recv(64):
            pass
        time.sleep(self._grace)
        os._exit(EXIT_TERMINATED)


def _end(code: int) -> NoReturn:
    """Without waiting for threads that third parties leave behind: they must not hold a finished stage."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    _Terminator(GRACE_SECONDS).install()
    try:
        _end(main())
    except SystemExit as leave:
        _end(leave.code if isinstance(leave.code, int) else EXIT_UNEXPECTED)
