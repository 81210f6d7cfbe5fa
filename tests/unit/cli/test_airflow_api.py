"""The client of Airflow's API against a real HTTP server that answers as Airflow does, or does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from airflow_server import PASSWORD, USERNAME, FakeAirflow, fake_airflow, task

from windtunnel.cli.airflow_api import AirflowApi, AirflowAwayError
from windtunnel.errors import ConflictError, NotFoundError, PermanentError, RequestError, WindtunnelError

if TYPE_CHECKING:
    from collections.abc import Iterator

DAG = "wind__features"


@pytest.fixture
def airflow() -> Iterator[FakeAirflow]:
    with fake_airflow() as found:
        found.add_lifecycle("wind")
        yield found


@pytest.fixture
def api(airflow: FakeAirflow) -> AirflowApi:
    return AirflowApi(airflow.url, USERNAME, PASSWORD, patience=0.2)


def test_a_run_is_started_with_its_params_under_an_id_that_airflow_takes(
    api: AirflowApi, airflow: FakeAirflow
) -> None:
    run_id = api.trigger(DAG, {"start": "2013-01-01"})
    assert airflow.triggered == {run_id: {"start": "2013-01-01"}}
    assert run_id.startswith("manual__")
    assert api.runs(DAG) == [{"dag_run_id": run_id}]
    assert api.run_url(DAG, "a+b") == f"{airflow.url}/dags/wind__features/runs/a%2Bb"


def test_a_trigger_whose_answer_is_lost_starts_one_run(api: AirflowApi, airflow: FakeAirflow) -> None:
    airflow.lose_next_trigger = True
    api.patience = 30
    run_id = api.trigger(DAG, {})
    assert list(airflow.triggered) == [run_id]
    assert airflow.asked == [f"POST /dags/{DAG}/dagRuns"] * 2


def test_a_run_of_more_tasks_than_a_page_holds_is_seen_whole(api: AirflowApi, airflow: FakeAirflow) -> None:
    airflow.frames = [("running", [task("extract", "success", index) for index in range(250)])]
    assert api.state(DAG, "r") == "running"
    assert [run.map_index for run in api.task_runs(DAG, "r")] == list(range(250))


def test_a_run_is_watched_until_it_has_ended(api: AirflowApi, airflow: FakeAirflow) -> None:
    airflow.frames = [("queued", []), ("running", [task("plan", "running")]), ("failed", [])]
    assert [state for state, _ in api.watch(DAG, "r", pause=0.01)] == ["queued", "running", "failed"]


def test_tasks_that_did_not_start_come_last(api: AirflowApi, airflow: FakeAirflow) -> None:
    airflow.frames = [("running", [task("publish", None), task("extract", "success", 0, days="a to b")])]
    api.state(DAG, "r")
    first, last = api.task_runs(DAG, "r")
    assert (first.name, first.slice, first.seconds) == ("extract[0]", "a to b", 5.0)
    assert (last.name, last.state, last.seconds) == ("publish", "waiting", 0.0)


def test_what_a_task_raised_is_taken_from_its_log(api: AirflowApi, airflow: FakeAirflow) -> None:
    airflow.frames = [("failed", [task("extract", "failed", 0, try_number=2)])]
    airflow.logs["extract", 2] = [
        {"event": "read 3 partitions"},
        {"event": "Task failed", "error_detail": [{"exc_type": "X", "exc_value": "extract: no rows"}]},
        "a line that could not be parsed",
    ]
    api.state(DAG, "r")
    (failed,) = api.task_runs(DAG, "r")
    assert api.error(DAG, "r", failed) == "extract: no rows"
    assert api.log(DAG, "r", failed)[0] == "read 3 partitions"
    assert api.log(DAG, "r", failed)[-1] == "a line that could not be parsed"
    airflow.logs.clear()
    assert api.error(DAG, "r", failed) == ""


def test_how_its_pod_died_explains_more_than_what_the_task_raised_while_it_was_ended(
    api: AirflowApi, airflow: FakeAirflow
) -> None:
    airflow.frames = [("failed", [task("train", "failed", try_number=1)])]
    airflow.logs["train", 1] = [
        {"event": "evicted: train: the cluster took its pod away", "logger": "windtunnel.pods"},
        {"event": "Task failed", "error_detail": [{"exc_type": "X", "exc_value": "stopped: train"}]},
    ]
    api.state(DAG, "r")
    (failed,) = api.task_runs(DAG, "r")
    assert api.error(DAG, "r", failed) == "evicted: train: the cluster took its pod away"


def test_results_are_values_however_airflow_gives_them(api: AirflowApi, airflow: FakeAirflow) -> None:
    airflow.results = {"a": {"facts": {"rows": 1}}, "b": '{"facts": {"rows": 1}}'}
    assert api.result(DAG, "r", "a") == api.result(DAG, "r", "b") == {"facts": {"rows": 1}}


def test_a_token_that_expired_is_replaced_once(api: AirflowApi, airflow: FakeAirflow) -> None:
    airflow.valid_for = 1
    for _ in range(3):
        api.dag(DAG)
    assert airflow.logins == 3
    airflow.valid_for = 0
    with pytest.raises(PermanentError, match=r"does not let 'wind' do this.*401 Token expired"):
        api.dag(DAG)


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (403, PermanentError, "403 no role; give the user a role that may read DAGs"),
        (404, NotFoundError, "404 no role"),
        (409, ConflictError, "409 no role"),
        (422, RequestError, "422 no role"),
        (500, WindtunnelError, "the log of Airflow's api-server says why"),
    ],
)
def test_a_refusal_is_told_with_airflows_words(
    api: AirflowApi, airflow: FakeAirflow, status: int, kind: type[WindtunnelError], words: str
) -> None:
    api.dag(DAG)
    airflow.answers = [(status, b'{"detail": "no role"}', {})]
    with pytest.raises(kind, match=words):
        api.dag(DAG)


def test_a_wrong_password_is_told_and_not_shown(airflow: FakeAirflow) -> None:
    api = AirflowApi(airflow.url, USERNAME, "hidden-mistake")
    with pytest.raises(PermanentError, match="refuses the login of 'wind': Invalid credentials") as refused:
        api.dag(DAG)
    assert "hidden" not in str(refused.value)


def test_a_server_that_starts_is_waited_for(api: AirflowApi, airflow: FakeAirflow) -> None:
    api.patience = 30
    airflow.answers = [(503, b"no endpoints", {})]
    assert api.dag(DAG)["dag_id"] == DAG


def test_a_server_that_stays_away_is_given_up(api: AirflowApi, airflow: FakeAirflow) -> None:
    airflow.answers = [(502, b"<html>bad gateway</html>", {})] * 20
    with pytest.raises(AirflowAwayError, match="502 <html>bad gateway"):
        api.dag(DAG)


def test_a_server_that_is_not_there_is_told_with_what_it_takes(airflow: FakeAirflow) -> None:
    api = AirflowApi("http://127.0.0.1:9", USERNAME, PASSWORD, patience=0)
    with pytest.raises(AirflowAwayError, match=r"127\.0\.0\.1:9: Airflow does not answer.*port-forward"):
        api.dag(DAG)


def test_the_token_is_handed_to_nobody_else(api: AirflowApi, airflow: FakeAirflow) -> None:
    api.dag(DAG)
    with fake_airflow() as other:
        airflow.answers = [(302, b"", {"Location": f"{other.url}/api/v2/dags/{DAG}"})]
        with pytest.raises(RequestError, match="is not Airflow's API"):
            api.dag(DAG)
        assert other.asked == []


@pytest.mark.parametrize("body", [b"<html>hello</html>", b"[]", b'{"hello": 1}', b"\xff"])
def test_something_else_at_that_address_is_named(api: AirflowApi, airflow: FakeAirflow, body: bytes) -> None:
    airflow.answers = [(200, body, {})]
    with pytest.raises(RequestError, match="is not Airflow's API"):
        api.dag(DAG)


@pytest.mark.parametrize(
    "url", ["airflow.example.com", "ftp://host", "http://", "http://host:x", "http://a b"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(RequestError, match="is no address"):
        AirflowApi(url, USERNAME, PASSWORD)


@pytest.mark.parametrize("url", ["http://wind:hidden@host", "ftp://wind:hidden@host"])
def test_a_password_in_an_address_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(RequestError) as refused:
        AirflowApi(url, USERNAME, PASSWORD)
    assert "hidden" not in str(refused.value)


def test_a_dag_that_never_comes_is_told(api: AirflowApi, airflow: FakeAirflow) -> None:
    api.wait_for_dag(DAG)
    airflow.answers = [
        (404, b"{}", {}),
        (200, b'{"import_errors": [{"stack_trace": "SyntaxError: x"}]}', {}),
    ]
    with pytest.raises(NotFoundError, match="no DAG calm__features after 0 s\nSyntaxError: x"):
        api.wait_for_dag("calm__features", seconds=0)


def test_the_lifecycles_there_are_listed(api: AirflowApi, airflow: FakeAirflow) -> None:
    for number in range(60):
        airflow.add_lifecycle(f"calm_{number}")
    assert len(api.dag_ids()) == 61 * 4
