"""The chain from a prediction back to its origin, as lines on a terminal."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from windtunnel.lineage.answers import Answer
    from windtunnel.lineage.judgement import Act
    from windtunnel.lineage.replay import Replay
    from windtunnel.lineage.skew import Skew
    from windtunnel.lineage.trace import Trace, VersionTrace

_WIDTH = 10
_SHOWN_ROWS = 5
_SHOWN_DIFFERENCES = 10
_ROLES = {
    "champion": "the champion",
    "challenger": "the challenger, in a canary",
    "fallback": "the champion, in a challenger's stead",
    "shadow": "a shadow: its answer went to nobody",
    "batch": "batch scoring",
}


class Chain:
    """Prints a trace: the answer that counted with everything behind it, then who else was asked."""

    def __init__(
        self, trace: Trace, row: int, replays: Mapping[int, Replay], skew: Skew | None, *, asked: bool
    ) -> None:
        """`asked`: whether a replay was asked for."""
        self._trace = trace
        self._row = row
        self._replays = replays
        self._skew = skew
        self._asked = asked

    def print(self, console: Console) -> None:
        """Everything."""
        self._console = console
        first = self._trace.answers[0]
        version = self._trace.versions[first.digest]
        self._line(
            "prediction",
            Text.assemble((self._trace.id.text, "bold"), "  of ", (self._trace.lifecycle, "bold")),
        )
        self._answer(first)
        self._version(version)
        self._verdict(version)
        self._snapshot(version)
        self._features(first, version)
        self._code(version)
        self._replay(0)
        self._offline(first)
        for place, answer in enumerate(self._trace.answers[1:], start=1):
            self._other(place, answer)

    def _line(self, title: str, text: Text | str, style: str = "") -> None:
        told = Text(text, style) if isinstance(text, str) else text
        self._console.print(Text.assemble((f"{title:<{_WIDTH}}  ", "cyan"), told), soft_wrap=True)

    def _more(self, text: Text | str, style: str = "dim") -> None:
        self._line("", text, style)

    def _lost(self, version: VersionTrace, link: str) -> bool:
        """Say that a link is lost; whether it is."""
        lost = next((lost for lost in version.lost if lost.link == link), None)
        if lost:
            self._line(link, f"✗ {lost.error.what}", "bold red")
        return lost is not None

    def _answer(self, answer: Answer) -> None:
        value = Text(_number(answer.predictions[self._row]), "bold green")
        rows = len(answer.predictions)
        of = f"  for row {self._row} (rows 0 to {rows - 1})" if rows > 1 else ""
        self._line(
            "answer", Text.assemble(value, of, f"  by version {answer.version}, {_ROLES[answer.role]}")
        )
        when = f"for the day {answer.time:%Y-%m-%d}" if answer.role == "batch" else _moment(answer.time)
        took = "" if answer.latency_seconds is None else f", in {answer.latency_seconds * 1000:.2f} ms"
        self._more(f"{when}{took}, logged by {_plain(answer.writer)}")
        entities = answer.entities[self._row]
        asked = ", ".join(f"{name}={_plain(value)}" for name, value in entities.items()) if entities else ""
        parts = [f"asked for {asked}" if asked else "asked with all features in the request"]
        if answer.key is not None:
            parts.append(f"key {answer.key!r}")
        if answer.event_time:
            parts.append(f"features as of {_moment(answer.event_time)}")
        self._more(", ".join(parts))
        if rows > 1:
            shown = ", ".join(map(_number, answer.predictions[:_SHOWN_ROWS]))
            more = ", …" if rows > _SHOWN_ROWS else ""
            self._more(f"all rows: {shown}{more}  (--row N shows another)")

    def _version(self, version: VersionTrace) -> None:
        if self._lost(version, "bundle"):
            self._more(f"version {version.version}, bundle {version.bundle}")
            return
        manifest = version.manifest or {}
        what = " as ".join(filter(None, (manifest.get("estimator"), manifest.get("runtime"))))
        self._line("version", Text.assemble((version.version, "bold"), f"  {what}"))
        self._more(f"bundle {version.bundle}")

    def _verdict(self, version: VersionTrace) -> None:
        lost = self._lost(version, "verdict")
        if version.verdict:
            content = version.verdict.content
            decision = str(content.get("decision", "unknown"))
            against = content.get("champion")
            rival = (
                f"against champion version {against['version']}"
                if against
                else "as the first of its lifecycle"
            )
            colour = "green" if decision == "promote" else "yellow"
            self._line(
                "verdict",
                Text.assemble(
                    (decision, f"bold {colour}"), f"  {rival}{_days(content.get('window'), ', on ')}"
                ),
            )
            for reason in content.get("reasons", ()):
                self._more(f"- {reason}")
            self._more(version.verdict.uri)
        elif not lost:
            self._line("verdict", "none about this bundle is in the store", "yellow")
        if self._lost(version, "ledger"):
            return
        if not version.acts:
            self._more(
                "the ledger names it nowhere: it is in a rollout, or its acts are still on their way there"
            )
        for act in version.acts:
            said = version.verdict.content.get("reasons", ()) if version.verdict else ()
            self._more(_act(act, [reason for reason in act.reasons if reason not in said]))

    def _snapshot(self, version: VersionTrace) -> None:
        if self._lost(version, "snapshot"):
            self._more(version.snapshot_uri)
            return
        snapshot = version.snapshot
        if snapshot is None:
            named = "the bundle names none: it does not say what it was trained on"
            self._line("snapshot", named if version.manifest else "not known without the bundle", "yellow")
            return
        rows = "".join(
            f", {snapshot[f'{part}_rows']:,} rows" for part in ("train",) if f"{part}_rows" in snapshot
        )
        self._line("snapshot", f"training days {_days(snapshot.get('training'))}{rows}")
        judged = f"judged on {_days(snapshot.get('evaluation'))}"
        self._more(f"{judged}, cut-off {snapshot.get('cutoff')}")
        self._more(version.snapshot_uri)

    def _features(self, answer: Answer, version: VersionTrace) -> None:
        if self._lost(version, "features"):
            return
        missing, stale = answer.missing[self._row], answer.stale[self._row]
        words = f"{len(answer.names)}" + (f", {missing} without a value of its own" if missing else "")
        self._line("features", Text.assemble(words, (", too old ones among them" if stale else "", "yellow")))
        sources = {str(of["name"]): str(of["source"]) for of in (version.manifest or {}).get("features", ())}
        width = max((len(name) for name in answer.names), default=0)
        for name, value in zip(answer.names, answer.inputs[self._row], strict=True):
            shown = Text("missing", "yellow") if math.isnan(value) else Text(_number(value))
            shown.align("right", 12)
            default = ", its default" if missing and version.defaults.get(name) == value else ""
            self._more(
                Text.assemble(f"{name:<{width}}  ", shown, (f"  {sources.get(name, '')}{default}", "dim"))
            )
        made_of = (version.snapshot or {}).get("views", {})
        for view, name in version.views.items():
            rows = made_of.get(view)
            trained = (
                f", trained on its rows {_short(rows['digest'])} of {_days(rows['days'])}" if rows else ""
            )
            self._more(f"view {view}: definition {_short(name)}{trained}")

    def _code(self, version: VersionTrace) -> None:
        manifest = version.manifest
        if manifest is None:
            return
        self._line("code", _short(str(manifest.get("code", "not known"))))
        self._more(f"spec {_short(str(manifest.get('spec', 'not known')))}")
        if files := manifest.get("lifecycle_files"):
            self._more(f"files of the lifecycle {_short(str(files))}")
        libraries = manifest.get("libraries", {})
        if libraries:
            self._more(", ".join(f"{name} {number}" for name, number in libraries.items()))

    def _replay(self, place: int) -> None:
        done = self._replays.get(place)
        if done:
            self._line("replay", _replayed(done, self._trace.answers[place]))
        elif self._asked:
            self._line("replay", "✗ not possible: see below", "bold red")

    def _offline(self, answer: Answer) -> None:
        skew = self._skew
        if skew is None:
            return
        if not skew.differences:
            self._line(
                "offline", Text(f"✓ all {skew.compared:,} values are those of the offline store", "green")
            )
            return
        self._line(
            "offline",
            f"{len(skew.differences):,} of {skew.compared:,} values differ from the offline store's",
            "bold yellow",
        )
        for one in skew.differences[:_SHOWN_DIFFERENCES]:
            row = f"row {one.row}: " if len(answer.predictions) > 1 else ""
            self._more(f"{row}{one.feature}: served {_number(one.served)}, offline {_number(one.offline)}")
        if len(skew.differences) > _SHOWN_DIFFERENCES:
            self._more(f"and {len(skew.differences) - _SHOWN_DIFFERENCES} more")

    def _other(self, place: int, answer: Answer) -> None:
        self._console.print()
        value = _number(answer.predictions[min(self._row, len(answer.predictions) - 1)])
        self._line(
            "also", Text.assemble((value, "bold"), f"  by version {answer.version}, {_ROLES[answer.role]}")
        )
        version = self._trace.versions[answer.digest]
        if version is not self._trace.versions[self._trace.answers[0].digest]:
            self._version(version)
            self._verdict(version)
        self._replay(place)


def _replayed(done: Replay, answer: Answer) -> Text:
    rows = len(answer.predictions)
    all_rows = f" on all {rows:,} rows" if rows > 1 else ""
    if done.exact:
        return Text(f"✓ exact: the same answer, bit for bit{all_rows}", "green")
    where = done.differing[0]
    pair = f"logged {_exactly(answer.predictions[where])}, now {_exactly(done.predictions[where])}"
    of = f" (row {where}; {len(done.differing):,} of {rows:,} rows differ)" if rows > 1 else ""
    if done.agrees:
        return Text(f"✓ the same within {done.tolerance:.0e}, not bit for bit: {pair}{of}", "green")
    return Text(f"✗ differs by {done.difference:.3g}: {pair}{of}", "bold red")


def _act(act: Act, reasons: Sequence[str]) -> str:
    parts = [f"ledger {act.number}: {act.action}", f"by {act.by}" if act.by else ""]
    parts += [f"run {act.run_id}" if act.run_id else "", f"at {_moment_of(act.at)}" if act.at else ""]
    parts += [f"in the place of version {act.replaced}" if act.replaced else ""]
    told = ", ".join(part for part in parts if part)
    return f"{told}: {'; '.join(reasons)}" if reasons else told


def _days(days: Sequence[Any] | None, before: str = "") -> str:
    return f"{before}{days[0]} to {days[-1]}" if days else ""


def _moment(moment: datetime) -> str:
    fraction = f".{moment.microsecond // 1000:03d}" if moment.microsecond else ""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}{fraction} UTC"


def _moment_of(text: str) -> str:
    try:
        return f"{datetime.fromisoformat(text).astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    except ValueError:
        return text


def _plain(value: object) -> str:
    """What somebody else wrote, without what would move a terminal's cursor."""
    text = str(value)
    return text if text.isprintable() else repr(text)


def _short(name: str) -> str:
    """A digest as people compare it; anything else as it is."""
    return name.removeprefix("sha256:")[:12] if name.startswith("sha256:") else name


def _number(value: float) -> str:
    return "missing" if math.isnan(value) else f"{value:.6g}"


def _exactly(value: float) -> str:
    return repr(float(value))
