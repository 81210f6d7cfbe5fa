"""How much memory a challenger may take."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from windtunnel.serving import challenger_command, memory
from windtunnel.spec.servedmodel import ModelVersion

if TYPE_CHECKING:
    from pathlib import Path

VERSION = ModelVersion(version="2", bundle="s3://bucket/bundle", digest="sha256:" + "0" * 64)


@pytest.mark.parametrize(
    ("contents", "expected"),
    [
        (("536870912\n", None), 1 << 28),
        (("max\n", None), 1 << 30),
        ((None, "536870912\n"), 1 << 28),
        ((None, "9223372036854771712\n"), 1 << 30),
        ((None, None), 1 << 30),
        (("nonsense", "1073741824"), 1 << 29),
    ],
)
def test_it_is_half_of_the_containers_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, contents: tuple[str | None, ...], expected: int
) -> None:
    places = tuple(tmp_path / str(number) for number in range(2))
    for place, content in zip(places, contents, strict=True):
        if content is not None:
            place.write_text(content)
    monkeypatch.setattr(memory, "LIMITS", places)
    command = challenger_command.challenger_command(None)("demo", VERSION)
    assert command[command.index("--memory") + 1] == str(expected)


def test_or_what_is_asked_for() -> None:
    command = challenger_command.challenger_command(64)("demo", VERSION)
    assert command[command.index("--memory") + 1] == str(64 << 20)
    assert command[command.index("--digest") + 1] == VERSION.digest
