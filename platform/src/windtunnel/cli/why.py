"""`windtunnel why`: a prediction and all that it was made of, link by link."""

from __future__ import annotations

import json
import logging
import tempfile
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from windtunnel.cli.chain import Chain
from windtunnel.cli.console import err, out, tell_error
from windtunnel.cli.places import find_lifecycle
from windtunnel.cli.stores import open_named
from windtunnel.cli.trace_json import to_json
from windtunnel.errors import (
    EXIT_OK,
    EXIT_PERMANENT,
    PermanentError,
    RequestError,
    WindtunnelError,
    exit_code,
)
from windtunnel.lineage.absence import check_lifecycle, check_moment, why_absent
from windtunnel.lineage.replay import Replay, replay
from windtunnel.lineage.trace import Trace, trace
from windtunnel.prediction_log.ids import parse_id
from windtunnel.settings import Settings
from windtunnel.spec import load_lifecycle

if TYPE_CHECKING:
    from collections.abc import Iterator

    from windtunnel.lineage.answers import Answer
    from windtunnel.lineage.skew import Skew
    from windtunnel.local.home import Home
    from windtunnel.stages.base import StageEnv


class Why:
    """One question, with all that was asked of it."""

    def __init__(
        self,
        text: str,
        lifecycle: str | None,
        url: str | None,
        home: Home,
        *,
        row: int,
        lifecycles: Path | None,
    ) -> None:
        """Raises RequestError for what is no id, NotFoundError for a store or lifecycle that is not there."""
        self._id = parse_id(text)
        check_moment(self._id, datetime.now(UTC))
        self._store = open_named(url, home)
        self._lifecycles = lifecycles
        self._row = row
        self._lifecycle = Path(lifecycle).name if lifecycle else None
        if self._lifecycle:
            check_lifecycle(self._store, self._lifecycle)

    def tell(self, *, again: bool, offline: bool, as_json: bool) -> int:
        """Print the chain; `again` replays every answer, `offline` asks the offline store too.

        Exit code: 0, or 2 when a link is lost or an answer comes out differently. Raises NotFoundError for an
        id that is not in the log, IntegrityError, DataError, StoreError.
        """
        found = trace(self._store, self._id, self._lifecycle)
        if found is None:
            raise why_absent(self._store, self._id, self._lifecycle, datetime.now(UTC))
        self._check_row(found.answers[0])
        problems: list[WindtunnelError] = [lost.error for lost in found.lost]
        replays = self._replays(found, problems) if again else {}
        served, skew = found.answers[0], None
        if offline:
            skew = self._skew(found, served, problems)
        if as_json:
            out.print_json(json.dumps(to_json(found, replays, skew)))
        else:
            Chain(found, self._row, replays, skew, asked=again).print(out)
        for problem in problems:
            tell_error(problem)
        differs = [replay for replay in replays.values() if not replay.agrees]
        if differs and not as_json:
            err.print(
                "What was logged is not what this bundle answers. Either the log was changed, or the runtime "
                "computes differently: `libraries` of the bundle's manifest says what it was proved with.",
                soft_wrap=True,
            )
        return EXIT_PERMANENT if differs else _worst(problems)

    def _check_row(self, answer: Answer) -> None:
        rows = len(answer.predictions)
        if not 0 <= self._row < rows:
            raise RequestError(
                f"there is no row {self._row} in this request of {rows}",
                where="--row",
                fix=f"rows count from 0 to {rows - 1}",
            )

    def _replays(self, found: Trace, problems: list[WindtunnelError]) -> dict[int, Replay]:
        """By place of the answer. Where a bundle is lost, the trace has told it."""
        done = {}
        for place, answer in enumerate(found.answers):
            version = found.versions[answer.digest]
            if {lost.link for lost in version.lost} & {"bundle", "features"}:
                continue
            try:
                done[place] = replay(self._store, answer, version.bundle)
            except PermanentError as error:
                problems.append(error)
        return done

    def _skew(self, found: Trace, answer: Answer, problems: list[WindtunnelError]) -> Skew | None:
        from windtunnel.lineage.skew import skew

        version = found.versions[answer.digest]
        if version.manifest is None:
            return None
        features = {str(of["name"]): str(of["source"]) for of in version.manifest["features"]}
        try:
            with self._environment(found.lifecycle) as env:
                return skew(answer, features, version.defaults, env)
        except PermanentError as error:
            problems.append(error)
            return None

    @contextmanager
    def _environment(self, lifecycle: str) -> Iterator[StageEnv]:
        """What reading the offline store takes. The lifecycle's code must be at hand for that."""
        from windtunnel.stages.base import StageEnv

        directory = find_lifecycle(lifecycle, self._lifecycles).resolve()
        settings = Settings(store=self._store.url, lifecycles=directory.parent)
        with tempfile.TemporaryDirectory(prefix="windtunnel-why-") as work:
            yield StageEnv(
                settings=settings,
                store=self._store,
                lifecycle=load_lifecycle(directory),
                directory=directory,
                work=Path(work),
                log=logging.getLogger("windtunnel.why"),
            )


def _worst(problems: list[WindtunnelError]) -> int:
    return max((exit_code(problem) for problem in problems), default=EXIT_OK)
