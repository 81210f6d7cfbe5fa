"""The image tool: keys that change with content alone, contexts that hold it, targets and values."""

from __future__ import annotations

import ast
import os
import stat
from typing import TYPE_CHECKING

import pytest
from dev.imaging import catalog
from dev.imaging.building import Contexts, Target
from dev.imaging.catalog import IMAGES, ROOT, UPSTREAM_BASE, beneath, select
from dev.imaging.context import File, context, own_files
from dev.imaging.errors import ImageError
from dev.imaging.registry import is_loopback
from dev.imaging.secrets import write_secrets
from dev.imaging.terminal import last_step, run
from dev.imaging.values import values

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# The package that each image is for.
_ENTRY = {
    "airflow": "airflow",
    "stage": "stages",
    "serving": "serving",
    "controller": "controller",
    "exporter": "exporter",
}
BASE = {"BASE_IMAGE": "windtunnel/base:1"}


@pytest.mark.parametrize("name", IMAGES)
def test_every_image_has_its_containerfile_and_what_it_copies(name: str) -> None:
    image = IMAGES[name]
    present = {str(path.relative_to(ROOT)) for path in own_files(image)}
    present |= {f"images/{name}/{image.program}"} if image.program else set()
    for line in (ROOT / image.containerfile).read_text().splitlines():
        if line.startswith("COPY "):
            *sources, _ = [word for word in line.split()[1:] if not word.startswith("--")]
            for source in sources:
                assert any(place == source or place.startswith(f"{source}/") for place in present), source


def test_a_key_changes_with_a_file_its_mode_and_the_image_beneath() -> None:
    image = IMAGES["valkey"]
    keys = {
        context(image, BASE).key,
        context(image, {"BASE_IMAGE": "windtunnel/base:2"}).key,
        context(image, BASE, {"a": File(0o644, b"1")}).key,
        context(image, BASE, {"a": File(0o755, b"1")}).key,
        context(image, BASE, {"a": File(0o644, b"2")}).key,
    }
    assert len(keys) == 5
    assert context(image, BASE).key == context(image, BASE).key


def test_a_context_on_disk_depends_on_nothing_but_content(tmp_path: Path) -> None:
    made = context(IMAGES["valkey"], BASE, {"large": File(0o644, ROOT / "LICENSE")})
    made.write(tmp_path)
    entrypoint = tmp_path / "images/valkey/docker-entrypoint.sh"
    assert stat.S_IMODE(entrypoint.stat().st_mode) == 0o755
    assert (tmp_path / "large").read_bytes() == (ROOT / "LICENSE").read_bytes()
    assert len({path.stat().st_mtime for path in tmp_path.rglob("*")}) == 1


def test_a_stage_is_no_part_of_the_other_images() -> None:
    def holds(name: str, part: str) -> bool:
        return any(part in str(path) for path in own_files(IMAGES[name]))

    assert holds("stage", "windtunnel/stages/")
    for name in ("airflow", "serving", "controller"):
        assert not holds(name, "windtunnel/stages/")
        assert holds(name, f"windtunnel/{name}/")


@pytest.mark.parametrize("name", ["airflow", "stage", "serving", "controller"])
def test_an_image_lacks_nothing_that_its_code_imports(name: str) -> None:
    source = ROOT / "platform/src"
    files = {path for path in own_files(IMAGES[name]) if path.suffix == ".py"}
    reached = {path for path in files if path.is_relative_to(source / "windtunnel" / _ENTRY[name])}
    waiting = list(reached | {path for path in files if path.is_relative_to(ROOT / "dags")})
    assert reached
    while waiting:
        importer = waiting.pop()
        for module in _imports(importer):
            imported = source.joinpath(*module.split("."))
            for path in (imported.with_suffix(".py"), imported / "__init__.py"):
                if path.exists() and path not in reached:
                    assert path in files, f"{importer} imports {module}, which the image {name} leaves out"
                    reached.add(path)
                    waiting.append(path)


def _imports(path: Path) -> Iterator[str]:
    """Modules of ours that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        yield from (name for name in names if name.startswith("windtunnel"))


def test_no_lock_names_a_package_index() -> None:
    for path in [*ROOT.glob("images/*/*.lock"), ROOT / "platform/requirements-dev.lock"]:
        assert "://" not in path.read_text(), path


def test_every_lock_is_there_and_pins_by_hash() -> None:
    for image in IMAGES.values():
        for lock in image.locks:
            text = (ROOT / lock.path).read_text()
            assert text.count("\n    --hash=sha256:") >= text.count("==") > 1, lock.path


def test_groups_leave_out_what_no_pod_runs() -> None:
    assert [image.name for image in select(["platform"])] == [
        "stage",
        "airflow",
        "mlflow",
        "serving",
        "controller",
        "exporter",
    ]
    assert {image.name for image in select(["all"])} == set(catalog.IMAGES) - {"base", "installer", "spark"}


def test_what_an_image_stands_on_is_built_before_it() -> None:
    assert [image.name for image in beneath(select(["spark"]))] == ["base", "installer", "stage"]
    assert beneath(select(["base"])) == []


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ImageError, match=r"no image or group 'stages'.*stage"):
        select(["stages"])


@pytest.mark.parametrize(
    ("registry", "expected"),
    [
        ("127.0.0.1:5000", True),
        ("127.0.0.1:5000/windtunnel/stage:1", True),
        ("localhost", True),
        ("registry.example.com/team", False),
        ("127.0.0.1.example.com", False),
        ("", False),
    ],
)
def test_only_this_machine_is_spoken_to_without_tls(registry: str, expected: bool) -> None:
    assert is_loopback(registry) is expected


def test_a_registry_elsewhere_gets_images_on_upstream_python() -> None:
    assert Target.of("registry.example.com/team", "", "", push=True).base == UPSTREAM_BASE
    assert Target.of("127.0.0.1:5000", "", "", push=True).base == "debian"
    assert Target.of("127.0.0.1:5000", "", "mine:1", push=True).base == "mine:1"


def test_values_name_own_images_below_the_registry_and_stores_in_full() -> None:
    target = Target.of("registry.example.com/team", "1.2", "", push=False)
    text = values(select(["stage", "postgres"]), target, Contexts(target.base, os.environ))
    assert text == (
        "images:\n"
        '  registry: "registry.example.com/team"\n'
        '  stage: {repository: "windtunnel/stage", tag: "1.2"}\n'
        '  postgres: {repository: "registry.example.com/team/windtunnel/postgres", tag: "1.2"}\n'
    )


def test_index_settings_are_handed_over_in_a_private_file(tmp_path: Path) -> None:
    environ = {
        "UV_INDEX_URL": "https://user:pass word@index.example.com",
        "SSL_CERT_FILE": "/ca.pem",
        "HOME": "/root",
    }
    options = write_secrets(environ, tmp_path)
    assert "pass" not in " ".join(options)
    assert options[-1] == "id=ca,src=/ca.pem"
    index = tmp_path / "index"
    assert index.read_text() == "UV_INDEX_URL='https://user:pass word@index.example.com'\n"
    assert stat.S_IMODE(index.stat().st_mode) == 0o600


def test_a_failed_command_shows_the_end_of_its_log(tmp_path: Path) -> None:
    command = ["sh", "-c", "seq 1 100; echo the reason >&2; exit 3"]
    with pytest.raises(ImageError, match=r"(?s)stage: building failed with exit code 3.*the reason"):
        run(command, "stage: building", tmp_path / "log", os.environ)


@pytest.mark.parametrize(
    "line", ["[2/2] STEP 6/15: RUN a --mount=from=b", "#9 [stage-1 6/15] RUN a 1/2", "Step 6/15 : RUN a"]
)
def test_progress_tells_the_step_of_either_builder(tmp_path: Path, line: str) -> None:
    log = tmp_path / "log"
    log.write_text(f"{line}\nGet:1 something\n")
    assert last_step(log) == "step 6 of 15"
