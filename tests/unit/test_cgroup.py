from __future__ import annotations

from typing import TYPE_CHECKING

from windtunnel.cgroup import memory_limit, oom_kills

if TYPE_CHECKING:
    from pathlib import Path


def test_version_2(tmp_path: Path) -> None:
    (tmp_path / "memory.events").write_text("low 0\noom 2\noom_kill 1\noom_group_kill 0\n")
    (tmp_path / "memory.max").write_text("268435456\n")
    assert (oom_kills(tmp_path), memory_limit(tmp_path)) == (1, 256 << 20)


def test_version_1(tmp_path: Path) -> None:
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n")
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text("1073741824\n")
    assert (oom_kills(tmp_path), memory_limit(tmp_path)) == (3, 1 << 30)


def test_no_limit_in_either_version(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("max\n")
    assert memory_limit(tmp_path) is None
    (tmp_path / "memory.max").unlink()
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert memory_limit(tmp_path) is None


def test_a_kernel_that_tells_nothing(tmp_path: Path) -> None:
    assert (oom_kills(tmp_path), memory_limit(tmp_path)) == (0, None)
