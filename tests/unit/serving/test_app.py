"""Which question a path asks."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import msgspec
import pytest
from no_log import no_log

from windtunnel.serving.app import App
from windtunnel.serving.dataplane import Dataplane
from windtunnel.serving.http_messages import Answer, Request
from windtunnel.serving.metrics import Metrics

if TYPE_CHECKING:
    from windtunnel.serving.challenger import Challenger


class Nobody:
    """No challenger."""

    @staticmethod
    def describe() -> None:
        return None


@pytest.mark.parametrize("name", ["infer", "ready", "versions"])
def test_a_model_may_be_called_like_a_question(name: str) -> None:
    metrics = Metrics()
    dataplane = Dataplane(metrics, cast("Challenger", Nobody()), no_log(metrics))
    dataplane.lifecycle = name
    app = App(dataplane, metrics)

    def asked(method: str, path: str) -> tuple[int, str]:
        answer = app.answer(Request(method, path, {}, b""))
        assert isinstance(answer, Answer)
        told = msgspec.json.decode(answer.body)
        return answer.status, str(told.get("name") or told["error"])

    assert asked("GET", f"/v2/models/{name}") == (200, name)
    status, why = asked("POST", f"/v2/models/{name}/infer")
    assert (status, "no version" in why) == (503, True)
    assert asked("GET", f"/v2/models/{name}/infer")[0] == 405
