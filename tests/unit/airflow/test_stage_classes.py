from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from windtunnel.airflow import stage_classes
from windtunnel.errors import PermanentError

from .conftest import write_stage_classes

if TYPE_CHECKING:
    from pathlib import Path


def test_classes_and_their_slots_are_what_the_chart_rendered(tmp_path: Path) -> None:
    write_stage_classes(tmp_path, small=8, gpu=1)
    assert stage_classes.slots(tmp_path) == {"gpu": 1, "small": 8}


def test_a_worker_where_nothing_is_mounted_knows_no_classes(tmp_path: Path) -> None:
    assert stage_classes.slots(tmp_path) == {}
    assert stage_classes.slots(tmp_path / "nowhere") == {}


@pytest.mark.parametrize("pools", [None, "no JSON", "{}", '{"stage-small": 3}', '{"stage-small": {}}'])
def test_a_class_without_a_pool_is_an_error_and_no_task_that_waits_for_ever(
    tmp_path: Path, pools: str | None
) -> None:
    write_stage_classes(tmp_path, small=8)
    (tmp_path / "pools.json").unlink()
    if pools is not None:
        (tmp_path / "pools.json").write_text(pools)
    with pytest.raises(PermanentError, match="small have no pools") as raised:
        stage_classes.slots(tmp_path)
    assert "pools.json" in str(raised.value)
