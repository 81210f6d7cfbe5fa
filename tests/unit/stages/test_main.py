"""A stage's process as its parent sees it: exit codes, the result file, signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from waiting import HANG

SOURCE = Path(__file__).parents[3] / "platform" / "src"

# Puts a module in the place of a stage, then is what `python -m windtunnel.stages` is.
STAND_IN = """
import runpy, sys, types
stage = types.ModuleType("windtunnel.stages.extract")
exec(open({code!r}).read(), stage.__dict__)
sys.modules["windtunnel.stages.extract"] = stage
runpy.run_module("windtunnel.stages", run_name="__main__", alter_sys=True)
"""


class Process:
    """Starts stages whose code a test writes."""

    def __init__(self, tmp_path: Path, lifecycles: Path) -> None:
        self._tmp = tmp_path
        self.result = tmp_path / "result.json"
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(SOURCE),
            "WINDTUNNEL_STORE": str(tmp_path / "store"),
            "WINDTUNNEL_LIFECYCLES": str(lifecycles),
        }

    def start(self, code: str, request: str | None = None) -> subprocess.Popen[str]:
        stage, stand_in, asked = (self._tmp / name for name in ("stage.py", "stand_in.py", "request.json"))
        stage.write_text("def identity(request, env): return None\n" + textwrap.dedent(code))
        stand_in.write_text(STAND_IN.format(code=str(stage)))
        asked.write_text(request or json.dumps({"lifecycle": "demo", "stage": "extract", "run_id": "run-1"}))
        return subprocess.Popen(
            [sys.executable, str(stand_in), "extract", "--request", str(asked), "--result", str(self.result)],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, code: str, request: str | None = None) -> tuple[int, str, dict[str, Any]]:
        """Exit code, output, result."""
        process = self.start(code, request)
        output, _ = process.communicate(timeout=HANG)
        return process.returncode, output, json.loads(self.result.read_text())


@pytest.fixture
def process(tmp_path: Path, lifecycle_directory: Path) -> Process:
    return Process(tmp_path, lifecycle_directory.parent)


def test_success_writes_the_result(process: Process) -> None:
    code, output, result = process.run(
        """
        from windtunnel.spec.stages import StageResult
        def run(request, env):
            env.log.info("hello from %s", env.lifecycle.name)
            (env.work / "scratch").write_text("x")
            return StageResult(facts={"work": str(env.work)})
        """
    )
    assert code == 0
    assert "hello from demo" in output
    assert not Path(result["facts"]["work"]).exists()
    assert result["cached"] is False


@pytest.mark.parametrize(
    ("kind", "code", "permanent", "reason"),
    [("DataError", 2, True, "data_error"), ("StoreError", 75, False, "platform_error")],
)
def test_an_error_of_ours_has_its_exit_code_and_reason(
    process: Process, kind: str, code: int, permanent: bool, reason: str
) -> None:
    returned, output, result = process.run(
        f"""
        from windtunnel.errors import {kind}
        def run(request, env):
            raise {kind}("what", where="where", fix="fix")
        """
    )
    assert returned == code
    assert result == {
        "error": {
            "kind": kind, "what": "what", "where": "where", "fix": "fix",
            "permanent": permanent, "reason": reason,
        }
    }  # fmt: skip
    assert f"{kind}: where: what; fix" in output
    assert "Traceback" not in output


def test_an_exception_of_user_code_keeps_its_traceback_and_names_its_line(
    process: Process, lifecycle_directory: Path
) -> None:
    (lifecycle_directory / "train.py").write_text("def train(features, label):\n    return 1 / 0\n")
    code, output, result = process.run(
        "def run(request, env):\n    import train\n    train.train(None, None)"
    )
    assert code == 1
    assert "Traceback" in output
    assert result["error"]["kind"] == "ZeroDivisionError"
    assert result["error"]["where"] == f"{lifecycle_directory / 'train.py'}:2"
    assert result["error"]["reason"] == "user_exception"


@pytest.mark.parametrize(
    "request_text", ["", "[]", "{}", '{"lifecycle": "demo", "stage": "train", "run_id": "x"}']
)
def test_a_bad_request_is_refused(process: Process, request_text: str) -> None:
    code, _, result = process.run("", request_text or " ")
    assert code == 2
    assert result["error"]["kind"] == "RequestError"


def test_a_bad_lifecycle_is_refused_by_line(process: Process, lifecycle_directory: Path) -> None:
    path = lifecycle_directory / "lifecycle.yaml"
    path.write_text(path.read_text().replace("service", "servise"))
    code, output, _ = process.run("")
    assert code == 2
    assert "lifecycle.yaml:7: unknown field 'servise'" in output


@pytest.mark.parametrize(
    "waiting",
    [
        "time.sleep(600)",
        "[time.sleep(0.001) for _ in iter(int, 1)]",
        # Swallows the exception, as a careless user's code may.
        "\n    while True:\n        try: time.sleep(600)\n        except BaseException: pass",
        # Native code that does not return, so that no Python handler runs in the main thread.
        "__import__('ctypes').CDLL(None).sleep(600)",
    ],
    ids=["sleep", "loop", "swallow", "native"],
)
def test_sigterm_ends_it_whatever_it_does(process: Process, waiting: str) -> None:
    started = process.start(f"import time\ndef run(request, env):\n    env.log.info('begun')\n    {waiting}")
    assert started.stdout
    assert "begun" in started.stdout.readline()
    started.send_signal(signal.SIGTERM)
    assert started.wait(timeout=HANG) == 143
    started.stdout.close()
