"""End a cluster, in whatever state it is, and remove every trace of it but the caches."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import containers
import processes
from errors import ClusterError
from network import remove_network
from progress import say

if TYPE_CHECKING:
    from layout import Layout

_POD_SECONDS = 8.0
# Directories outside of the state directory that components write to, whatever their flags say.
_POD_LOG_LINKS = Path("/var/log/containers")
_CNI_RESULTS = Path("/var/lib/cni/results")


def is_gone(layout: Layout) -> bool:
    """Whether there is nothing to tear down."""
    return not (layout.holds_cluster() or layout.run.exists() or _processes(layout))


def tear_down(layout: Layout) -> None:
    """Stop pods, bounded in time, then all components; then unmount, clean the network, delete the state.

    Raises ClusterError if anything is left.
    """
    # Who would start pods again goes first; DNS, services and policies stay until the pods are gone.
    _end_components(layout, {"kubelet", "controller-manager", "scheduler", "storage"}, 5)
    _end_pods(layout)
    containers.forget_containers(layout)
    # Nothing of what these hold is kept.
    _end_components(layout, {"apiserver", "etcd"}, 0)
    _end_components(layout, {process.name for process in processes.find(layout.state)}, 5)
    # In the cache: what the image builder's storage mounts onto itself.
    mounted = unmount_below(layout.state, layout.run, layout.cache)
    if mounted:
        say(f"{mounted} mounts removed")
    _remove_cgroups()
    removed = remove_network()
    if removed:
        say(f"removed {', '.join(removed)}")
    _remove_files(layout)
    left = [f"process {process.pid} ({process.name})" for process in _processes(layout)]
    left += [f"mount {path}" for path in mounts_below(layout.state, layout.run)]
    if left:
        raise ClusterError(f"not all of the cluster could be removed: {', '.join(left)}")


def _processes(layout: Layout) -> list[processes.Process]:
    return processes.find(layout.state) + processes.find_shims(layout.state)


def _end_components(layout: Layout, names: set[str], seconds: float) -> None:
    chosen = [process for process in processes.find(layout.state) if process.name in names]
    if chosen:
        say(f"stopping {', '.join(sorted(process.name for process in chosen))}")
        processes.end(chosen, seconds)


def _end_pods(layout: Layout) -> None:
    shims = processes.find_shims(layout.state)
    if not shims:
        return
    first_processes = processes.find_children(shims)
    say(f"stopping {len(shims)} pods, at most {_POD_SECONDS:.0f} s")
    processes.end(first_processes, _POD_SECONDS)
    for shim in shims:
        shim.signal(signal.SIGKILL)
    processes.wait_gone(shims, 10)


def mounts_below(*roots: Path) -> list[str]:
    """Mount points in or at the directories, the innermost and latest first."""
    points = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        # Spaces and the like are written as octal escapes: man 5 proc.
        point = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), line.split()[4])
        if any(Path(point).is_relative_to(root) for root in roots):
            points.append(point)
    return points[::-1]


def unmount_below(*roots: Path) -> int:
    """Unmount everything in the directories; returns how many mounts there were."""
    points = mounts_below(*roots)
    for point in points:
        if subprocess.run(["umount", point], capture_output=True).returncode != 0:
            subprocess.run(["umount", "--lazy", point], capture_output=True)
    return len(points)


def _remove_cgroups() -> None:
    """Remove kubelet's cgroups, version 1 (a tree a controller) and 2, and kill what is still in one."""
    roots = [Path("/sys/fs/cgroup/kubepods"), *Path("/sys/fs/cgroup").glob("*/kubepods")]
    for root in filter(Path.is_dir, roots):
        for group in [*sorted(root.rglob("*/"), key=lambda path: -len(path.parts)), root]:
            _remove_cgroup(group)


def _remove_cgroup(group: Path) -> None:
    for _ in range(50):
        try:
            group.rmdir()
            return
        except FileNotFoundError:
            return
        except OSError:
            subprocess.run(["kill", "-9", *(group / "cgroup.procs").read_text().split()], capture_output=True)
            time.sleep(0.02)


def _remove_files(layout: Layout) -> None:
    for link in _POD_LOG_LINKS.glob("*") if _POD_LOG_LINKS.is_dir() else ():
        if link.is_symlink() and Path(link.readlink()).is_relative_to(layout.state):
            link.unlink()
    for result in _CNI_RESULTS.glob("*"):
        if str(layout.run) in result.read_text(errors="replace"):  # its network namespace was ours
            result.unlink()
    if mounts_below(layout.state, layout.run):
        return  # deleting would reach through them; the caller reports them
    if layout.holds_cluster():
        shutil.rmtree(layout.state)
    shutil.rmtree(layout.run, ignore_errors=True)
