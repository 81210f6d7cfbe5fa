from __future__ import annotations

import hashlib
import io
import json
import tarfile
from typing import TYPE_CHECKING

import builds
import pytest
from containers import write_image
from prepare import go_version

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    module = tmp_path / "kube"
    module.mkdir()
    (module / "go.mod").write_text("require k8s.io/kubernetes v1.35.4\n")
    (module / "main.go").write_text("package main")
    monkeypatch.setattr(builds, "SOURCE", tmp_path)
    return module


def test_a_programs_key_follows_its_sources_but_not_its_tests(module: Path) -> None:
    before = builds.KUBE.key()
    (module / "main_test.go").write_text("package main")
    assert builds.KUBE.key() == before
    (module / "main.go").write_text("package main // changed")
    assert builds.KUBE.key() != before


def test_a_programs_key_does_not_depend_on_the_checkout(module: Path, tmp_path: Path) -> None:
    before = builds.KUBE.key()
    module.rename(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").rename(module)
    assert builds.KUBE.key() == before


def test_the_cluster_names_the_kubernetes_version_that_it_is_built_from(module: Path) -> None:
    assert module.exists()
    assert "gitVersion=v1.35.4" in builds.KUBE.ldflags
    assert "gitMinor=35" in builds.KUBE.ldflags
    assert "gitVersion" not in builds.PAUSE.ldflags


def test_an_image_archive_names_its_content_by_true_digests(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"\x7fELF")
    out = io.BytesIO()
    write_image(out, "localhost/x:1", {"program": program}, ["/program"])
    out.seek(0)
    with tarfile.open(fileobj=out) as archive:
        files = {member.name: archive.extractfile(member).read() for member in archive.getmembers()}  # type: ignore[union-attr]
    for name, content in files.items():
        if name.startswith("blobs/"):
            assert name == f"blobs/sha256/{hashlib.sha256(content).hexdigest()}"
    (entry,) = json.loads(files["index.json"])["manifests"]
    manifest = json.loads(files[f"blobs/{entry['digest'].replace(':', '/')}"])
    layer = files[f"blobs/{manifest['layers'][0]['digest'].replace(':', '/')}"]
    with tarfile.open(fileobj=io.BytesIO(layer)) as files_of_layer:
        assert files_of_layer.getmember("program").mode == 0o755


@pytest.mark.parametrize(
    ("text", "expected"),
    [("go version go1.26.8 linux/amd64", (1, 26)), ("go version devel", (0, 0)), ("", (0, 0))],
)
def test_go_version_is_read_from_what_go_says(text: str, expected: tuple[int, int]) -> None:
    assert go_version(text) == expected
