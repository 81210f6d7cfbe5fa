"""The challenger as the ServedModel wants it: which version, which share of the keys, copies or not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from windtunnel.serving.challenger_keeper import ChallengerKeeper
from windtunnel.serving.challenger_link import Fault
from windtunnel.serving.live_challenger import LiveChallenger
from windtunnel.serving.routing import Split

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from windtunnel.serving.challenger_keeper import State
    from windtunnel.serving.challenger_link import ChallengerLink
    from windtunnel.serving.challenger_metrics import ChallengerCounts
    from windtunnel.serving.metrics import Metrics
    from windtunnel.serving.model import LoadedVersion, VersionInterface
    from windtunnel.serving.prediction_log import Record
    from windtunnel.spec.servedmodel import ModelVersion, ServedModelSpec


class Challenger:
    """At most one version beside the champion; on the event loop only.

    `command` gives the command line of a version's process, `interface` what the version's manifest says;
    `record` logs what it makes of copies.
    """

    def __init__(
        self,
        metrics: Metrics,
        command: Callable[[str, ModelVersion], Sequence[str]],
        interface: Callable[[str, ModelVersion, dict[str, Any]], VersionInterface],
        record: Record,
    ) -> None:
        self._metrics = metrics
        self._record = record
        self._keeper = ChallengerKeeper(command, interface, self)
        self._champion: LoadedVersion | None = None
        self._wanted: ModelVersion | None = None
        self.counts: ChallengerCounts | None = None
        self._lifecycle = ""
        self._traffic = 0
        self._shadow = False
        self._was_up = False
        self._state: State = "Loading"
        self._message = ""
        self.live: LiveChallenger | None = None
        """None while no process answers."""
        self.split: Split | None = None
        """None while it has no share of the requests. A challenger that died keeps its share, so that what
        the champion answers in its stead counts against it."""

    def want(self, spec: ServedModelSpec) -> None:
        """Be what the ServedModel says."""
        self._traffic, self._shadow = spec.traffic, spec.shadow
        if spec.challenger != self._wanted:
            self._change(spec.lifecycle, spec.challenger)
        self._share()
        self._score()

    def is_wanted(self, version: ModelVersion) -> bool:
        """Whether that is the challenger."""
        return self._wanted is not None and self._wanted.digest == version.digest

    def beside(self, champion: LoadedVersion) -> None:
        """The version that answers all other requests, from now on."""
        self._champion = champion
        if self.live is not None:
            self.live.beside(champion)

    def ask(self) -> LiveChallenger:
        """Who answers a routed request. Raises Fault when it is dead."""
        if self.live is None:
            raise Fault("died", self._message or "it has died")
        return self.live

    def answered(self, counts: ChallengerCounts | None, fault: Fault | None = None) -> None:
        """A routed request was answered, by the champion if there is a fault; `counts` are those that were in
        force when it came: a version that was taken out meanwhile is blamed for nothing."""
        if counts is None or counts is not self.counts:
            return
        if fault is None:
            counts.asked("routed")
        else:
            counts.faulted("routed", fault)

    def describe(self) -> dict[str, Any] | None:
        """For the model's metadata."""
        if self._wanted is None:
            return None
        return {
            "version": self._wanted.version,
            "digest": self._wanted.digest,
            "state": self._state,
            "message": self._message,
            "traffic": self._traffic,
            "shadow": self._shadow,
            "last_fault": self.counts.last_fault if self.counts else None,
        }

    async def stop(self) -> None:
        """Returns when its process has ended."""
        self.split = None
        self.down()
        await self._keeper.stop()

    def up(self, interface: VersionInterface, link: ChallengerLink) -> None:
        assert self.counts is not None, "a version that is kept is wanted"
        self.live = LiveChallenger(interface, link, self.counts, self._metrics, self._record)
        if self._champion is not None:
            self.live.beside(self._champion)
        self._was_up = True
        self._share()
        self._score()

    def down(self) -> None:
        if self.live is not None:
            self.live.shadow(False)
            self.live = None

    def restarted(self) -> None:
        if self.counts is not None:
            self.counts.restarts.inc()

    def became(self, state: State, message: str) -> None:
        self._state, self._message = state, message
        if self.counts is not None:
            self.counts.is_in(state)

    def _change(self, lifecycle: str, wanted: ModelVersion | None) -> None:
        self.down()
        if self.counts is not None:
            self.counts.gone()
        self._wanted, self.counts, self._was_up = wanted, None, False
        self._lifecycle = lifecycle
        if wanted is None:
            self._keeper.drop()
        else:
            self.counts = self._metrics.challenger.of(lifecycle, wanted.version)
            self.became("Loading", "")
            self._keeper.keep(lifecycle, wanted)

    def _share(self) -> None:
        if self._wanted is not None and self._was_up and self._traffic:
            self.split = Split(self._lifecycle, self._wanted.version, self._traffic)
        else:
            self.split = None

    def _score(self) -> None:
        if self.live is not None:
            self.live.shadow(self._shadow, one_by_one=bool(self._traffic))
