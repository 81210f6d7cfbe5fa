"""The examples of docs/serving.md, run as they stand there; only the port is another."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from redis_process import redis_process
from served_bundle import make_version, served_model, write_served_model
from serving_process import ServingProcess

from windtunnel.objects import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).parents[3] / "docs" / "serving.md"
JOIN_KEYS = [
    *({"name": name, "type": "STRING"} for name in ("origin", "dest", "carrier")),
    {"name": "hour", "type": "INT64"},
]
VIEW = {
    "name": "route_hour",
    "join_keys": JOIN_KEYS,
    "ttl_seconds": 86400,
    "features": [{"name": "route_delay", "type": "Float64"}],
}
FEATURES = {"route_delay": "route_hour:route_delay"} | dict.fromkeys(
    ["minute_of_day", "weekday", "distance"], "request"
)


def examples(language: str, word: str) -> list[str]:
    """The page's code blocks of a language in which a word stands."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)
    return [block for block in blocks if word in block]


@pytest.fixture(scope="module")
def flights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServingProcess]:
    """Serves a model of the page's inputs."""
    directory = tmp_path_factory.mktemp("flights")
    store = open_store(str(directory / "store"), {})
    version = make_version(store, "1", 0.0001, features=FEATURES, views=[VIEW])
    write_served_model(directory / "served.json", served_model(version))
    with (
        redis_process() as port,
        ServingProcess(
            directory / "served.json", directory / "store", online_store=f"redis://127.0.0.1:{port}/0"
        ) as process,
    ):
        process.wait_for("/v2/health/ready")
        yield process


def test_curl(flights: ServingProcess) -> None:
    (example,) = examples("sh", "curl")
    said = subprocess.run(
        ["bash", "-c", example.replace("localhost:8080", f"127.0.0.1:{flights.port}")],
        capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    answer = json.loads(said.stdout)
    (promised,) = [json.loads(block) for block in examples("json", "prediction_id")]
    assert answer["outputs"][0]["shape"] == [1]
    assert set(answer) == set(promised)
    assert set(answer["parameters"]) == set(promised["parameters"])


@pytest.mark.parametrize(
    ("word", "wanted"), [("tritonclient", r"\[0\.\d+ 0\.\d+\] 3"), ("kserve", r"\[0\.\d+\] \S+")]
)
def test_python(clients: Any, flights: ServingProcess, word: str, wanted: str) -> None:
    (example,) = examples("python", word)
    said = clients.run("python", "-c", example.replace("localhost:8080", f"127.0.0.1:{flights.port}"))
    assert re.fullmatch(wanted, said.strip())
