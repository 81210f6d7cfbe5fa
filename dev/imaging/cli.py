"""Build, push and lock Windtunnel's images, with docker (if its daemon answers) or buildah.

  dev/images.py build                     build the platform's images, on upstream's slim Python
  dev/images.py build --push --registry registry.example.com/team
                                          and push them there
  dev/images.py build --push --registry 127.0.0.1:5000
                                          for a cluster on this machine: also the upstreams' images,
                                          on a base made here from Debian packages
  dev/images.py values --registry 127.0.0.1:5000 > images.yaml
                                          what `helm install -f` needs to use them
  dev/images.py lock                      resolve the lock files anew (after pyproject.toml changed)

An image's tag is a key of all that it is made from: Containerfile, lock, code, base. So a change gives
another tag (and the pods that run it are replaced), and what is built or pushed already costs nothing.
Images: base, airflow, stage, serving, controller, exporter, mlflow (group `platform`), and, for clusters that
can't pull upstream's, postgres, valkey, versitygw, prometheus, statsd-exporter (group `stores`); `all`: both.

Environment:
  XDG_CACHE_HOME     layers, package caches and logs lie in its windtunnel/ (default /var/cache/windtunnel)
  PIP_INDEX_URL, UV_INDEX_URL, UV_DEFAULT_INDEX, HTTPS_PROXY …    how package indexes are reached; handed to
  SSL_CERT_FILE, PIP_CERT, REQUESTS_CA_BUNDLE                     the build as secrets, so no image keeps them
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from dev.imaging.building import Contexts, Factory, Target
from dev.imaging.catalog import GROUPS, IMAGES, ORDER, ROOT, beneath, select
from dev.imaging.context import own_files
from dev.imaging.errors import ImageError
from dev.imaging.locks import lock_all
from dev.imaging.terminal import say
from dev.imaging.values import values


def main(arguments: list[str]) -> int:
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except ImageError as error:
        print(f"images.py {options.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            "interrupted; the layers made so far are kept, so another try goes on from here", file=sys.stderr
        )
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="images.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, run: object, text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(run=run)
        return command

    def add_target(command: argparse.ArgumentParser) -> None:
        command.add_argument(
            "names", nargs="*", metavar="NAME", help="images or groups (default: what the target needs)"
        )
        command.add_argument(
            "--registry", default="", metavar="HOST[:PORT][/PATH]", help="where clusters pull from"
        )
        command.add_argument(
            "--tag", default="", help="one tag for all images, such as a version (default: content keys)"
        )
        command.add_argument(
            "--base", default="", metavar="IMAGE", help="stand on this image; `debian` makes one here"
        )

    build = add("build", _build, "build what is missing, and push it with --push")
    add_target(build)
    build.add_argument("--push", action="store_true", help="push to the registry")
    build.add_argument("--builder", choices=("auto", "docker", "buildah"), default="auto")
    build.add_argument(
        "--as", dest="name", default="", metavar="REFERENCE", help="push one image under exactly this name"
    )
    add_target(add("values", _values, "print the Helm values that name these images"))
    lock = add("lock", _lock, "resolve every lock file anew")
    lock.add_argument(
        "--upgrade", action="store_true", help="take the newest versions instead of keeping what fits"
    )
    files = add("files", _files, "print the files that an image is made from, as JSON (for skaffold)")
    files.add_argument("names", nargs=1, metavar="NAME")
    add("list", _list, "print the images and what each is for")
    return parser


def _build(options: argparse.Namespace) -> None:
    if options.push and not (options.registry or options.name):
        raise ImageError("--push needs to know where to: add --registry registry.example.com/team")
    if options.name and len(options.names) != 1:
        raise ImageError(
            "--as names one image: give its NAME too, as in `build --push --as HOST/NAME:TAG stage`"
        )
    target = _target(options, push=options.push)
    images = select(options.names or _wanted(target))
    Factory(target, options.builder, _cache(), os.environ).make(images)
    say("all images are there")


def _values(options: argparse.Namespace) -> None:
    target = _target(options, push=False)
    images = select(options.names or _wanted(target))
    print(values(images, target, Contexts(target.base, os.environ)), end="")


def _lock(options: argparse.Namespace) -> None:
    lock_all(_cache(), options.upgrade)


def _files(options: argparse.Namespace) -> None:
    (image,) = select(options.names)
    paths = [path for needed in beneath([image]) for path in own_files(needed)]
    print(json.dumps([str(path.relative_to(ROOT)) for path in [*paths, *own_files(image)]]))


def _list(_: argparse.Namespace) -> None:
    for name in ORDER:
        group = next((group for group in GROUPS if group != "all" and name in GROUPS[group]), "")
        print(f"{name:<12}{group:<10}{IMAGES[name].purpose()}")


def _target(options: argparse.Namespace, push: bool) -> Target:
    return Target.of(options.registry, options.tag, options.base, push, getattr(options, "name", ""))


def _wanted(target: Target) -> list[str]:
    """A cluster on this machine also needs the embedded stores; others pull upstream's."""
    return ["all"] if target.is_here else ["platform"]


def _cache() -> Path:
    return (Path(os.environ.get("XDG_CACHE_HOME") or "/var/cache") / "windtunnel").absolute()
