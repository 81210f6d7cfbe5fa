"""A swap while requests are being answered, beside a challenger whose input is the new champion's."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
from no_log import no_log

from windtunnel.serving.dataplane import Dataplane
from windtunnel.serving.inputs import InputPlan
from windtunnel.serving.live_challenger import LiveChallenger
from windtunnel.serving.metrics import Metrics
from windtunnel.serving.model import LoadedVersion
from windtunnel.serving.protocol import encode, parse
from windtunnel.serving.routing import Split

if TYPE_CHECKING:
    from collections.abc import Sequence

    from windtunnel.serving.challenger import Challenger
    from windtunnel.serving.challenger_link import ChallengerLink
    from windtunnel.serving.frames import Answer
    from windtunnel.serving.model import FloatArray

LIFECYCLE = "demo"


class Weighted:
    """A model that tells its features apart."""

    def predict(self, features: FloatArray) -> FloatArray:
        answers: FloatArray = features @ np.array([1.0, 10.0])
        return answers


class Link:
    """Keeps what the challenger's process is asked, and answers nothing."""

    def __init__(self) -> None:
        self.asked: list[FloatArray] = []
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def predict(self, matrices: Sequence[FloatArray], seconds: float) -> list[Answer]:
        self.asked += matrices
        await asyncio.sleep(seconds)
        raise AssertionError("the test is over by then")


class Standing:
    """A challenger that takes all keys, and copies."""

    def __init__(
        self, metrics: Metrics, link: Link, features: Sequence[str], champion: LoadedVersion
    ) -> None:
        self.counts = metrics.challenger.of(LIFECYCLE, "9")
        self.live = LiveChallenger(
            version("9", features), cast("ChallengerLink", link), self.counts, metrics, no_log(metrics).record
        )
        self.live.beside(champion)
        self.live.shadow(True)
        self.split: Split | None = Split(LIFECYCLE, "9", 100)

    def beside(self, champion: LoadedVersion) -> None:
        self.live.beside(champion)


def version(name: str, features: Sequence[str]) -> LoadedVersion:
    return LoadedVersion(
        lifecycle=LIFECYCLE,
        version=name,
        digest=f"sha256:{name}",
        runtime="onnx",
        output="value",
        plan=InputPlan(dict.fromkeys(features, "request"), {}),
        inputs=tuple(features),
        single_precision=True,
        reader=None,
        online_columns=(),
        predictor=Weighted(),
        prediction_edges=(0.0,),
    )


def body(values: Sequence[float]) -> bytes:
    tensor = {"name": "features", "datatype": "FP64", "shape": [1, len(values)], "data": list(values)}
    return encode({"inputs": [tensor]})


def standing(metrics: Metrics, link: Link) -> tuple[Dataplane, Standing, LoadedVersion, LoadedVersion]:
    """A challenger beside a champion with its features in another order, and the next champion."""
    first, second = version("1", ["a", "b"]), version("2", ["b", "a"])
    challenger = Standing(metrics, link, ["b", "a"], first)
    dataplane = Dataplane(metrics, cast("Challenger", challenger), no_log(metrics))
    dataplane.lifecycle = LIFECYCLE
    dataplane.swap(first)
    return dataplane, challenger, first, second


def test_a_request_that_began_with_the_former_champion_stays_with_it() -> None:
    async def run() -> tuple[str, Any, list[FloatArray]]:
        link = Link()
        dataplane, _, first, second = standing(Metrics(), link)
        # its body came slowly
        dataplane.swap(second)
        role, answer = dataplane.infer(first, parse(body([1.0, 2.0])))
        await asyncio.sleep(0.01)
        return role, answer, link.asked

    role, answer, asked = asyncio.run(run())
    assert (role, answer.model_version) == ("champion", "1")
    assert answer.outputs[0].data == [21.0]
    assert asked == []


@pytest.mark.parametrize("swaps", [False, True])
def test_copies_that_the_former_champion_answered_are_scored_by_their_features_or_not_at_all(
    swaps: bool,
) -> None:
    async def run() -> list[FloatArray]:
        link = Link()
        dataplane, challenger, first, second = standing(Metrics(), link)
        challenger.split = None
        dataplane.infer(first, parse(body([1.0, 2.0])))
        if swaps:
            dataplane.swap(second)
        await asyncio.sleep(0.01)
        return link.asked

    asked = asyncio.run(run())
    assert [matrix.tolist() for matrix in asked] == ([] if swaps else [[[2.0, 1.0]]])
