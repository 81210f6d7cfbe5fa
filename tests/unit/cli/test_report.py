"""`windtunnel report`: where the page goes, and what is told instead of one."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from windtunnel.local.home import DEFAULT_HOME, Home

if TYPE_CHECKING:
    from .conftest import Shell

RECORD = (
    b'{"stage": "train", "run_id": "manual", "outcome": "success", "started": "2023-01-02T03:04:05+00:00"}'
)


@pytest.fixture
def ran(windtunnel: Shell) -> Shell:
    """In a directory where `demo` ran."""
    home = Home.at(DEFAULT_HOME)
    home.prepare()
    home.open_store().put("demo/runs/manual/train.1.json", RECORD)
    return windtunnel


def test_the_page_stands_here_under_the_lifecycle_s_name(ran: Shell) -> None:
    code, output = ran("report", "lifecycles/demo")
    assert code == 0
    assert output.startswith("demo.html")
    assert Path("demo.html").read_text().startswith("<!doctype html>\n<html")


def test_a_hyphen_is_standard_output_and_nothing_else_is_said(ran: Shell) -> None:
    code, output = ran("report", "demo", "-o", "-")
    assert code == 0
    assert output.startswith("<!doctype html>")
    assert output.endswith("</html>")
    assert not Path("-").exists()


def test_standard_output_cannot_be_opened(ran: Shell) -> None:
    code, output = ran("report", "demo", "-o", "-", "--open")
    assert code == 2
    assert "name a file by --output" in output


def test_the_file_is_opened_in_the_browser(ran: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda url: opened.append(url) or True)
    code, _ = ran("report", "demo", "-o", "a page.html", "--open")
    assert code == 0
    assert opened == [Path("a page.html").resolve().as_uri()]


def test_a_home_that_is_named_is_meant_whatever_the_environment_says(
    ran: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WINDTUNNEL_STORE", "/nowhere")
    assert ran("report", "demo")[0] == 2
    assert ran("report", "demo", "--home", str(DEFAULT_HOME))[0] == 0


def test_a_lifecycle_that_is_not_known_is_told(ran: Shell) -> None:
    code, output = ran("report", "other")
    assert code == 2
    assert "nothing is known of a lifecycle 'other'" in output
    assert "windtunnel run other" in output


def test_a_file_that_cannot_be_written_is_told(ran: Shell) -> None:
    code, output = ran("report", "demo", "-o", "not/there.html")
    assert code == 2
    assert "not/there.html: cannot write the report: No such file or directory" in output
