"""`windtunnel why`, before anything of a log is read."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Shell

ID = "019abf3c-4e2a-7c1d-8a55-0e4b6f1d2c3b"


def test_what_is_no_id_is_told_before_a_store_is_looked_for(windtunnel: Shell) -> None:
    code, output = windtunnel("why", ID[:-1])
    assert code == 2
    assert "it has 31 digits, an id has 32" in output
    assert "store" not in output


def test_without_any_run_a_store_must_be_named(windtunnel: Shell) -> None:
    code, output = windtunnel("why", ID)
    assert code == 2
    assert "nothing ran here yet" in output
    assert "--store s3://" in output


def test_a_store_of_another_kind_is_refused(windtunnel: Shell) -> None:
    code, output = windtunnel("why", ID, "--store", "gs://bucket")
    assert code == 2
    assert "is no object store" in output


def test_the_store_may_come_from_the_environment(windtunnel: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WINDTUNNEL_STORE", "/nowhere")
    code, output = windtunnel("why", ID)
    assert code == 2
    assert "/nowhere: there is no such directory" in output


def test_a_home_that_is_named_is_meant_whatever_store_the_environment_names(
    windtunnel: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WINDTUNNEL_STORE", "/nowhere")
    code, output = windtunnel("why", ID, "--home", str(tmp_path / "home"))
    assert code == 2
    assert "/nowhere" not in output
    assert "nothing ran here yet" in output


@pytest.mark.parametrize("name", ["flight_delay", "dags/lifecycles/flight_delay"])
def test_a_lifecycle_that_the_store_has_not_is_told(
    windtunnel: Shell, tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    store = tmp_path_factory.mktemp("store")
    code, output = windtunnel("why", ID, name, "--store", str(store))
    assert code == 2
    assert "there is nothing of a lifecycle 'flight_delay'" in output


def test_a_library_that_is_not_installed_is_told_with_the_extra(
    windtunnel: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [
        name for name in sys.modules if name.startswith(("windtunnel.lineage", "windtunnel.cli.why"))
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "numpy", None)
    code, output = windtunnel("why", ID)
    assert code == 2
    assert "this command needs numpy" in output
    assert "windtunnel[stages]" in output
