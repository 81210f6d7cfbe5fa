#!/usr/bin/env python3
"""A one-node Kubernetes on this machine: upstream components, no Docker, nothing but package registries.

  cluster.py up        start it (builds what is missing; seconds when nothing is), whatever happened before
  cluster.py status    what runs; exit code 0 only if all is well
  cluster.py down      stop it and remove every trace but the caches

  export KUBECONFIG=$(dev/cluster/cluster.py kubeconfig)
  $(dev/cluster/cluster.py path kubectl) get pods --all-namespaces

Images pushed to 127.0.0.1:5000 (plain HTTP) can be run as 127.0.0.1:5000/NAME:TAG.
Claims without a storage class get a directory on this machine (class `standard`).

Environment:
  XDG_CACHE_HOME            caches lie in its windtunnel/ (default /var/cache/windtunnel): Go caches, programs
                            by content key, pushed and pulled images
  XDG_STATE_HOME            the cluster lies in its windtunnel/cluster (default /var/lib/windtunnel/cluster)
  WINDTUNNEL_CLUSTER_STATE  another place for the cluster; `down` deletes that directory
Package indexes, proxies and certificate authorities are taken from the environment that apt, pip and go read.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from builds import TARGETS, build, program_path
from errors import ClusterError
from layout import Layout, locked, require_root
from prepare import check_disk, prepare
from progress import say

# One cluster a machine: ports, links and packet filter chains are fixed.
_LOCK = Path("/run/windtunnel-cluster.lock")
_BUSY = "another `cluster.py up` or `down` is at work: wait for it to end"


def main(arguments: list[str]) -> int:
    options = _parser().parse_args(arguments)
    layout = Layout.from_environment(os.environ)
    try:
        return int(options.run(layout, options))
    except (ClusterError, TimeoutError) as error:
        print(f"cluster.py {options.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; `up` again goes on from here, `down` removes it", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cluster.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, run: object, text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(run=run)
        return command

    add("up", _up, "start the cluster, or what is missing of it, and wait until it is ready")
    add("down", _down, "stop the cluster and delete its state; caches stay")
    add("status", _status, "show components, node and pods; exit code 0 only if all is well")
    killing = add(
        "kill", _kill, "kill one component, for tests of what it does to the others; `up` starts it"
    )
    killing.add_argument("component", metavar="COMPONENT", help="as `status` names it")
    add("kubeconfig", _kubeconfig, "print where the administrator's kubeconfig lies")
    add("prepare", _prepare, "install missing Debian packages, and Go if there is none new enough")
    building = add("build", _build, "build a program unless the cache has it; builds may run side by side")
    building.add_argument("target", choices=sorted(TARGETS))
    path = add("path", _path, "print where a built program lies")
    path.add_argument("program", choices=sorted([*TARGETS, "kubectl"]))
    return parser


def _up(layout: Layout, _: argparse.Namespace) -> int:
    from up import up

    require_root()
    check_disk(layout)
    with locked(_LOCK, _BUSY, wait=False):
        up(layout)
    return 0


def _down(layout: Layout, _: argparse.Namespace) -> int:
    from teardown import is_gone, tear_down

    require_root()
    with locked(_LOCK, _BUSY, wait=False):
        if is_gone(layout):
            say("there is no cluster")
        else:
            tear_down(layout)
            say(f"the cluster is gone; caches stay in {layout.cache}")
    return 0


def _status(layout: Layout, _: argparse.Namespace) -> int:
    from status import status

    return 0 if status(layout) else 1


def _kill(layout: Layout, options: argparse.Namespace) -> int:
    import processes

    require_root()
    running = {process.name: process for process in processes.find(layout.state)}
    if options.component not in running:
        raise ClusterError(f"{options.component} does not run; there are {', '.join(sorted(running))}")
    processes.end([running[options.component]], 0)
    return 0


def _kubeconfig(layout: Layout, _: argparse.Namespace) -> int:
    print(layout.kubeconfig)
    return 0


def _prepare(layout: Layout, _: argparse.Namespace) -> int:
    prepare(layout)
    return 0


def _build(layout: Layout, options: argparse.Namespace) -> int:
    build(layout, options.target)
    return 0


def _path(layout: Layout, options: argparse.Namespace) -> int:
    print(program_path(layout, options.program))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
