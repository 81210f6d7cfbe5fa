from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from windtunnel.errors import SpecError
from windtunnel.spec import load_lifecycle
from windtunnel.usercode import features_digest, load_object

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _own_modules() -> object:
    """What a test imports from its lifecycle is gone afterwards."""
    modules, path = set(sys.modules), list(sys.path)
    yield None
    for name in set(sys.modules) - modules:
        del sys.modules[name]
    sys.path[:] = path


def test_a_function_and_the_modules_beside_it_are_imported(lifecycle_directory: Path) -> None:
    (lifecycle_directory / "helper_of_train.py").write_text("FACTOR = 3\n")
    (lifecycle_directory / "train.py").write_text(
        "from helper_of_train import FACTOR\ndef train(features, label): return FACTOR\n"
    )
    assert load_object(lifecycle_directory, "train:train")(None, None) == 3


def test_two_lifecycles_in_one_process_keep_their_own_code(lifecycle_directory: Path) -> None:
    other = lifecycle_directory.parent / "other"
    other.mkdir()
    (other / "lifecycle.yaml").write_text((lifecycle_directory / "lifecycle.yaml").read_text())
    for directory, answer in ((lifecycle_directory, 1), (other, 2)):
        (directory / "shared.py").write_text(f"ANSWER = {answer}\n")
        (directory / "train.py").write_text(
            "import shared\ndef train(features, label): return shared.ANSWER\n"
        )
    for directory, answer in ((lifecycle_directory, 1), (other, 2), (lifecycle_directory, 1)):
        assert load_object(directory, "train:train")(None, None) == answer


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def trian(features, label): ...\n", r"train\.py: there is no 'train'; did you mean train:trian"),
        ("X = 1\n", r"there is no 'train'; define train"),
        ("import polars\nx = 1 / 0\n", r"train\.py:2: importing it raises ZeroDivisionError"),
        ("def train(:\n", r"train\.py:1: this is not Python"),
        (
            "\nimport no_such_module\n",
            r"train\.py:2: importing it raises ModuleNotFoundError.*no_such_module",
        ),
    ],
)
def test_mistakes_are_told_with_their_line(lifecycle_directory: Path, code: str, message: str) -> None:
    (lifecycle_directory / "train.py").write_text(code)
    with pytest.raises(SpecError, match=message):
        load_object(lifecycle_directory, "train:train")


def test_a_module_that_is_not_there_is_named(lifecycle_directory: Path) -> None:
    with pytest.raises(SpecError, match=r"no module 'absent_code'; add absent_code\.py"):
        load_object(lifecycle_directory, "absent_code:train")


def test_a_name_that_the_library_took_is_refused(lifecycle_directory: Path) -> None:
    (lifecycle_directory / "json.py").write_text("def train(features, label): ...\n")
    with pytest.raises(SpecError, match=r"not the lifecycle's.*rename json\.py"):
        load_object(lifecycle_directory, "json:train")


def test_only_what_features_may_depend_on_counts(lifecycle_directory: Path) -> None:
    def changes(name: str) -> bool:
        before = features_digest(lifecycle_directory, lifecycle)
        (lifecycle_directory / name).write_text("# edited\n")
        return features_digest(lifecycle_directory, lifecycle) != before

    lifecycle = load_lifecycle(lifecycle_directory)
    assert changes("features.py")
    assert changes("helpers.py")
    assert changes("airports.csv")
    assert not changes("train.py")
    assert not changes("load_sources.py")
    assert not changes("lifecycle.yaml")
    assert not changes(".hidden")


@pytest.mark.parametrize("module", ["train", "load_sources"])
@pytest.mark.parametrize("how", ["import {0}", "    from {0} import NAMES", "import os, {0} as them"])
def test_what_the_features_import_counts_whatever_it_is_called(
    lifecycle_directory: Path, module: str, how: str
) -> None:
    lifecycle = load_lifecycle(lifecycle_directory)
    (lifecycle_directory / "helpers.py").write_text(f"def rows():\n    pass\n{how.format(module)}\n")
    (lifecycle_directory / f"{module}.py").write_text("NAMES = ['a']\n")
    before = features_digest(lifecycle_directory, lifecycle)
    (lifecycle_directory / f"{module}.py").write_text("NAMES = ['b']\n")
    assert features_digest(lifecycle_directory, lifecycle) != before


def test_a_schema_beside_the_loader_counts(lifecycle_directory: Path) -> None:
    (lifecycle_directory / "load_sources.py").write_text("class Orders: ...\n")
    spec = lifecycle_directory / "lifecycle.yaml"
    spec.write_text(spec.read_text().replace("features:Orders", "load_sources:Orders"))
    lifecycle = load_lifecycle(lifecycle_directory)
    before = features_digest(lifecycle_directory, lifecycle)
    (lifecycle_directory / "load_sources.py").write_text("class Orders: pass\n")
    assert features_digest(lifecycle_directory, lifecycle) != before
