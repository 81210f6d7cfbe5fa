"""The Go programs that are built here, each kept in the cache under a key of what it is made from."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from errors import ClusterError
from layout import SOURCE, locked
from prepare import go_command
from progress import say

if TYPE_CHECKING:
    from collections.abc import Mapping

    from layout import Layout

_LINK_SMALL = "-s -w"
_SECONDS_BETWEEN_REPORTS = 15.0


@dataclass(frozen=True)
class Program:
    """A program: a package of the module in `kube/`, or `module@version` from the Go proxy."""

    name: str
    package: str

    @property
    def is_ours(self) -> bool:
        return self.package.startswith("./")

    @property
    def ldflags(self) -> str:
        return f"{_LINK_SMALL} {_kubernetes_version_flags()}" if self.name == "kube" else _LINK_SMALL

    def key(self) -> str:
        """Twelve hex digits that change with everything that the program is made from."""
        made_from = hashlib.sha256(f"{self.package} {self.ldflags} {platform.machine()}".encode())
        if self.is_ours:
            module = SOURCE / "kube"
            for path in sorted(module.rglob("*")):
                if path.suffix in {".go", ".mod", ".sum"} and not path.name.endswith("_test.go"):
                    content = path.read_bytes()
                    made_from.update(f"{path.relative_to(module)} {len(content)}\n".encode() + content)
        return made_from.hexdigest()[:12]

    def path(self, layout: Layout) -> Path:
        return layout.cache / "bin" / f"{self.name}-{self.key()}"


def _kubernetes_version_flags() -> str:
    """Linker flags without which the cluster would call itself v0.0.0, and charts would refuse it."""
    match = re.search(r"k8s\.io/kubernetes (v(\d+)\.(\d+)\S+)", (SOURCE / "kube" / "go.mod").read_text())
    if not match:
        raise ClusterError(f"{SOURCE / 'kube' / 'go.mod'} requires no k8s.io/kubernetes")
    values = {"gitVersion": match[1], "gitMajor": match[2], "gitMinor": match[3], "gitTreeState": "clean"}
    return " ".join(f"-X k8s.io/component-base/version.{name}={value}" for name, value in values.items())


KUBE = Program("kube", "./")
PAUSE = Program("pause", "./pause")
HELM = Program("helm", "helm.sh/helm/v4/cmd/helm@v4.3.1")
VERSITYGW = Program("versitygw", "github.com/versity/versitygw/cmd/versitygw@v1.8.0")
STATSD_EXPORTER = Program("statsd_exporter", "github.com/prometheus/statsd_exporter@v0.28.0")

# What `cluster.py build NAME` makes.
TARGETS: Mapping[str, tuple[Program, ...]] = {
    "kube": (PAUSE, KUBE),
    "helm": (HELM,),
    "versitygw": (VERSITYGW,),
    "statsd_exporter": (STATSD_EXPORTER,),
}


def build(layout: Layout, target: str) -> None:
    """Build what is missing of a target; safe beside other builds, and beside a second build of the same."""
    for program in TARGETS[target]:
        _build_program(layout, program)


def program_path(layout: Layout, name: str) -> Path:
    """Where a built program lies; `kubectl` is the kube binary under another name.

    Raises ClusterError if it has not been built from the present sources.
    """
    target = "kube" if name == "kubectl" else name
    built = TARGETS[target][-1].path(layout)
    if not built.exists():
        raise ClusterError(f"{name} is not built: run `dev/cluster/cluster.py build {target}` first")
    return _kubectl_link(built) if name == "kubectl" else built


def _build_program(layout: Layout, program: Program) -> None:
    target = program.path(layout)
    if target.exists():
        return
    with locked(layout.cache / "bin" / f".{program.name}.lock", "", wait=True):
        if target.exists():  # another process built it while we waited
            return
        say(f"{program.name}: building {program.package}")
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix=f".{program.name}-", dir=target.parent) as scratch:
            _run_go(layout, program, Path(scratch))
            if program is KUBE:
                _kubectl_link(target).unlink(missing_ok=True)
                _kubectl_link(target).symlink_to(target)
            (Path(scratch) / "out" / program.name).rename(target)
        size = target.stat().st_size / 1e6
        say(f"{program.name}: built in {time.monotonic() - started:.0f} s, {size:.0f} MB")


def _kubectl_link(kube: Path) -> Path:
    return kube.with_name(kube.name.replace("kube-", "kubectl-", 1))


def _run_go(layout: Layout, program: Program, scratch: Path) -> None:
    """Leave the program in scratch/out/<name>, reporting how many packages are compiled meanwhile."""
    out = scratch / "out"
    out.mkdir()
    environment = {
        **os.environ,
        "CGO_ENABLED": "0",
        "GOCACHE": str(layout.cache / "go" / "build"),
        "GOMODCACHE": str(layout.cache / "go" / "mod"),
        "GOBIN": str(out),
        "GOFLAGS": "",
        "GOWORK": "off",
    }
    flags = ["-v", "-trimpath", f"-ldflags={program.ldflags}"]
    go = str(go_command(layout))
    if program.is_ours:
        command = [go, "build", *flags, "-o", str(out / program.name), program.package]
    else:
        command = [go, "install", *flags, program.package]
    log = scratch / "log"
    directory = SOURCE / "kube" if program.is_ours else scratch
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command, cwd=directory, env=environment, stdout=output, stderr=output, stdin=subprocess.DEVNULL
        ) as process,
    ):
        try:
            _report_until_done(process, program, log)
        except BaseException:
            process.kill()
            raise
    if process.returncode != 0:
        kept = layout.cache / "bin" / f"{program.name}.log"
        shutil.copy(log, kept)
        raise ClusterError(f"building {program.name} failed ({kept} has all):\n{log.read_text()[-3000:]}")


def _report_until_done(process: subprocess.Popen[bytes], program: Program, log: Path) -> None:
    started = time.monotonic()
    while True:
        try:
            process.wait(_SECONDS_BETWEEN_REPORTS)
            return
        except subprocess.TimeoutExpired:
            lines = log.read_text(errors="replace").splitlines()
            compiled = sum(1 for line in lines if not line.startswith("go: "))
            say(f"{program.name}: {compiled} packages compiled, {time.monotonic() - started:.0f} s")
