"""The gate's last decision: challenger against champion, on the same rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from windtunnel.report import words
from windtunnel.report.charts.intervals import axis, axis_row, interval_row
from windtunnel.report.headline import metric, sentence
from windtunnel.report.html import name, tag
from windtunnel.report.layout import badge, figure, more, section, table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from windtunnel.report.html import Child, Markup
    from windtunnel.report.subject import Subject

_LOWER_IS_BETTER = frozenset(
    {
        "log_loss",
        "brier",
        "squared_error",
        "root_mean_squared_error",
        "mean_absolute_error",
        "calibration_error",
    }
)
_HIGHER_IS_BETTER = frozenset({"auc", "average_precision", "r2"})
_WHO = {
    "challenger": "challenger",
    "champion": "champion",
    "logistic": "plain regression",
    "base_rate": "base rate",
}


def contest(subject: Subject) -> Markup | None:
    verdict = subject.verdict
    if verdict is None:
        return None
    gate = verdict.get("gate") or {}
    challenger, champion = verdict.get("challenger") or {}, verdict.get("champion") or {}
    promoted = verdict.get("decision") == "promote"
    window = " to ".join(str(day) for day in verdict.get("window") or ())
    lead = [
        badge("good", "promote") if promoted else badge("warning", "refuse"),
        " version ",
        name(challenger.get("version", "")),
        [" against champion version ", name(champion["version"])] if champion else " against the base rate",
        f", on {words.count(int(gate.get('rows') or 0), 'row')} of {window}.",
    ]
    return section(
        "contest",
        "Champion against challenger",
        lead,
        _difference(gate),
        tag("ul", [tag("li", sentence(str(one))) for one in verdict.get("reasons", ())], class_="reasons"),
        _metrics(verdict.get("metrics") or {}),
        _notes(verdict.get("notes") or ()),
        _guardrails(gate),
    )


def _notes(notes: Iterable[object]) -> Markup | None:
    told = [tag("li", sentence(str(one).removeprefix("note: "))) for one in notes]
    return tag("ul", told, class_="notes") if told else None


def _difference(gate: dict[str, Any]) -> Markup | None:
    # A refusal without a test has no interval: its ends are null.
    low, high = gate.get("interval") or (None, None)
    value = gate.get("difference")
    if not (
        isinstance(low, int | float) and isinstance(high, int | float) and isinstance(value, int | float)
    ):
        return None
    shared = axis([(low, high)])
    level = words.percent(gate.get("level"))
    says = (
        f"Difference of {metric(str(gate.get('metric', 'loss')))}, challenger minus its rival: "
        f"{words.signed(value)}, between {words.signed(low)} and {words.signed(high)} ({level} interval)"
    )
    row = interval_row(shared, value, (low, high), says, bad=low > 0, good=high < 0)
    return figure([row, axis_row(shared, "challenger better", "worse")], says + ".")


def _metrics(metrics: dict[str, dict[str, Any]]) -> Markup | None:
    who = [one for one in _WHO if one in metrics]
    names = list(dict.fromkeys(key for one in who for key in metrics[one]))
    if not names:
        return None
    rows: list[list[Child]] = []
    for key in names:
        values = {one: metrics[one].get(key) for one in who}
        best = _best(key, {one: value for one in who[:2] if isinstance(value := values[one], int | float)})
        rows.append([_named(key), *(_cell(values[one], one == best) for one in who)])
    return table(["", *(_WHO[one] for one in who)], rows, "metrics")


def _named(key: str) -> list[Child]:
    arrow = "↓" if key in _LOWER_IS_BETTER else "↑" if key in _HIGHER_IS_BETTER else ""
    return [
        metric(key),
        tag("span", f" {arrow}", class_="arrow", title="which way is better") if arrow else None,
    ]


def _cell(value: Any, best: bool) -> Child:
    shown = words.fixed(value) if isinstance(value, int | float) else words.MISSING
    return tag("b", shown, title="the better one") if best else shown


def _best(key: str, values: dict[str, float]) -> str:
    if not values or key not in _LOWER_IS_BETTER | _HIGHER_IS_BETTER:
        return ""
    choose = min if key in _LOWER_IS_BETTER else max
    return choose(values, key=lambda one: values[one])


def _guardrails(gate: dict[str, Any]) -> Markup | None:
    guardrails = gate.get("guardrails") or ()
    if not guardrails:
        return None
    failed = [one for one in guardrails if not one.get("passed")]
    rows = [
        (
            name(one.get("name", ""), 48),
            words.number(one.get("rows")),
            words.signed(one.get("difference")),
            words.number(one.get("p_value"), 2),
            badge("good", "passed") if one.get("passed") else badge("critical", "refused"),
        )
        for one in sorted(guardrails, key=lambda one: (bool(one.get("passed")), one.get("p_value") or 0.0))[
            :40
        ]
    ]
    told = f"{len(failed)} refused" if failed else "all passed"
    return more(
        f"{words.count(len(guardrails), 'guardrail')}, {told}",
        table(("guardrail", "rows", "difference", "p, adjusted", ""), rows),
    )
