"""The few kubectl calls that the demo and the cluster tests make, always with an explicit target."""

from __future__ import annotations

import json
import re
import subprocess
import threading
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


class KubectlError(RuntimeError):
    """kubectl said no; the message is its own words."""


@dataclass(frozen=True)
class Kubectl:
    """kubectl bound to one cluster.

    command: the program, such as ("kubectl",) or ("/path/kube", "kubectl").
    flags: what picks the cluster, such as ("--kubeconfig=…",) or ("--context=…",); never empty by accident:
    the caller decides which cluster may be touched.
    """

    command: tuple[str, ...]
    flags: tuple[str, ...]

    def argv(self, *args: str) -> list[str]:
        return [*self.command, *self.flags, *args]

    def run(self, *args: str, stdin: str | None = None, timeout: float = 60) -> str:
        """Standard output of one call. Raises KubectlError with kubectl's message when it fails."""
        try:
            done = subprocess.run(
                self.argv(*args),
                input=stdin,
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise KubectlError(f"kubectl {' '.join(args)}: no answer in {timeout:.0f} s") from error
        if done.returncode:
            raise KubectlError(f"kubectl {' '.join(args)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def json(self, *args: str, timeout: float = 60) -> Any:
        return json.loads(self.run(*args, "-o", "json", timeout=timeout))

    def secret(self, namespace: str, name: str, key: str) -> str:
        """One decoded value of a Secret."""
        return self.run(
            "get",
            "secret",
            "-n",
            namespace,
            name,
            "-o",
            f"go-template={{{{index .data {json.dumps(key)} | base64decode}}}}",
        )

    @contextmanager
    def port_forward(self, namespace: str, target: str, port: int) -> Iterator[int]:
        """A free local port that leads to `target` (such as svc/name) while the block runs."""
        process = subprocess.Popen(
            self.argv(
                "port-forward",
                "-n",
                namespace,
                target,
                f":{port}",
                "--address=127.0.0.1",
            ),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            assert process.stdout is not None
            said = []
            for line in process.stdout:
                said.append(line.strip())
                if found := re.search(r"Forwarding from 127\.0\.0\.1:(\d+)", line):
                    break
            else:
                raise KubectlError(f"no way to {target} in {namespace}: {' '.join(said)}")
            # kubectl writes a line for each connection, and stops forwarding once nobody reads them
            threading.Thread(target=deque, args=(process.stdout, 0), daemon=True).start()
            yield int(found.group(1))
        finally:
            process.terminate()
            process.wait(10)
