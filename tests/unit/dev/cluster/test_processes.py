from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import processes
import pytest
from components import environment_for
from errors import ClusterError
from layout import Layout, locked
from waiting import until

if TYPE_CHECKING:
    from pathlib import Path


def test_a_component_is_found_again_by_what_it_carries_and_ends(tmp_path: Path) -> None:
    started = processes.start(tmp_path, "sleeper", "abc", ["sleep", "60"], {"PATH": "/usr/bin:/bin"})
    try:
        # The kernel shows a process's environment a moment after Popen returns.
        until(lambda: processes.find(tmp_path) == [started])
        assert processes.find(tmp_path / "other") == []
    finally:
        processes.end([started], 5)
    assert processes.find(tmp_path) == []


def test_a_component_that_ignores_a_polite_end_is_killed(tmp_path: Path) -> None:
    command = ["sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"]
    started = processes.start(tmp_path, "stubborn", "abc", command, {"PATH": "/usr/bin:/bin"})
    processes.end([started], 0.2)
    assert not started.is_alive()


def test_a_later_process_of_the_same_pid_is_not_taken_for_the_component(tmp_path: Path) -> None:
    started = processes.start(tmp_path, "sleeper", "abc", ["sleep", "60"], {"PATH": "/usr/bin:/bin"})
    impostor = processes.Process(started.pid, started.started - 1, "sleeper", "abc")
    try:
        impostor.signal(signal.SIGKILL)
        assert not impostor.is_alive()
        assert started.is_alive()
    finally:
        processes.end([started], 5)


def test_proxies_reach_containerd_only_and_spare_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt")
    assert "HTTPS_PROXY" not in environment_for("apiserver")
    assert environment_for("apiserver")["SSL_CERT_FILE"] == "/etc/ssl/certs/ca-certificates.crt"
    assert environment_for("containerd")["HTTPS_PROXY"] == "http://proxy.example:3128"
    assert "10.96.0.0/16" in environment_for("containerd")["NO_PROXY"]


def test_a_directory_with_foreign_files_is_refused_as_state(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    (state / "thesis.txt").touch()
    with pytest.raises(ClusterError, match="WINDTUNNEL_CLUSTER_STATE"):
        Layout(cache=tmp_path, state=state).claim_state()
    assert not Layout(cache=tmp_path, state=state).holds_cluster()


def test_the_environment_says_where_caches_and_state_lie() -> None:
    assert str(Layout.from_environment({}).cache) == "/var/cache/windtunnel"
    layout = Layout.from_environment({"XDG_CACHE_HOME": "/c", "WINDTUNNEL_CLUSTER_STATE": "/s"})
    assert (str(layout.cache), str(layout.kubeconfig)) == ("/c/windtunnel", "/s/kubeconfig")


def test_a_second_command_is_told_that_one_is_at_work(tmp_path: Path) -> None:
    with (
        locked(tmp_path / "lock", "busy", wait=False),
        pytest.raises(ClusterError, match="busy"),
        locked(tmp_path / "lock", "busy", wait=False),
    ):
        pass
