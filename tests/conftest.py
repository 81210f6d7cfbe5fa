"""What all tests share: a folder is a kind of test, and marks its tests."""

from __future__ import annotations

from pathlib import Path

import pytest

_ROOT = Path(__file__).parent
_MARKS = {"cluster": pytest.mark.cluster, "laptop": pytest.mark.slow}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        kind = item.path.relative_to(_ROOT).parts[0] if item.path.is_relative_to(_ROOT) else ""
        if kind in _MARKS:
            item.add_marker(_MARKS[kind])
