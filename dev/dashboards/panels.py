"""How panels look: one function for each kind, all with the same units, legends and colours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana_foundation_sdk.builders import common as c
from grafana_foundation_sdk.builders import dashboard as d
from grafana_foundation_sdk.builders import prometheus, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    BigValueTextMode,
    DataSourceRef,
    LegendDisplayMode,
    LegendPlacement,
    SortOrder,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DataTransformerConfig,
    DynamicConfigValue,
    FieldColorModeId,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
    VariableOption,
    VariableRefresh,
    VariableSort,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

if TYPE_CHECKING:
    from collections.abc import Sequence

SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
RELEASE = 'namespace=~"$namespace"'
HERE = f'{RELEASE}, lifecycle=~"$lifecycle"'
"""Selectors of the release that is looked at, and of the lifecycle in it."""

GREEN, YELLOW, RED = "green", "yellow", "red"
Asked = tuple[str, str]
"""A query and its legend."""


def page(title: str, uid: str, description: str, since: str, lifecycles: str = "") -> d.Dashboard:
    """A dashboard with the variables that its queries use; `lifecycles` is one, many or empty for none."""
    built = (
        d.Dashboard(title)
        .uid(f"windtunnel-{uid}")
        .description(description)
        .tags(["windtunnel"])
        .readonly()
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .refresh("1m")
        .time(f"now-{since}", "now")
        .timezone("browser")
        .link(
            d.DashboardLink("Windtunnel")
            .type(DashboardLinkType.DASHBOARDS)
            .tags(["windtunnel"])
            .include_vars(True)
            .keep_time(True)
        )
        .with_variable(d.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
        .with_variable(_variable("namespace", "Namespace", many=True, metric=_EXPORTER))
    )
    if lifecycles:
        built.with_variable(
            _variable("lifecycle", "Lifecycle", many=lifecycles == "many", metric=_RUNS + f"{{{RELEASE}}}")
        )
    return built


_EXPORTER = "windtunnel_exporter_last_refresh_timestamp_seconds"
_RUNS = "windtunnel_stage_runs_total"


def _variable(name: str, label: str, *, many: bool, metric: str) -> d.QueryVariable:
    built = (
        d.QueryVariable(name)
        .label(label)
        .datasource(SOURCE)
        .query({"query": f"label_values({metric}, {name})", "refId": name})
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
    )
    if many:
        built.multi(True).include_all(True).all_value(".*")
        built.current(VariableOption(text="All", value="$__all", selected=True))
    return built


def _target(expr: str, legend: str = "", *, instant: bool = False, ref: str = "A") -> prometheus.Dataquery:
    built = prometheus.Dataquery().expr(expr).legend_format(legend or "__auto").ref_id(ref).datasource(SOURCE)
    return built.instant() if instant else built.range()


def _steps(steps: Sequence[tuple[float, str]], first: str = GREEN) -> d.ThresholdsConfig:
    return (
        d.ThresholdsConfig()
        .mode(ThresholdsMode.ABSOLUTE)
        .steps([Threshold(value=None, color=first), *(Threshold(value=at, color=to) for at, to in steps)])
    )


def number(
    title: str,
    expr: str,
    description: str,
    *,
    unit: str = "short",
    steps: Sequence[tuple[float, str]] = (),
    first: str = GREEN,
    legend: str = "",
    name_only: bool = False,
) -> stat.Panel:
    """One figure, coloured by `steps`; `name_only` shows the legend in its place (a version, a state)."""
    return (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .with_target(_target(expr, legend, instant=True))
        .unit(unit)
        .thresholds(_steps(steps, first))
        .color_mode(BigValueColorMode.VALUE)
        .graph_mode(BigValueGraphMode.NONE)
        .reduce_options(c.ReduceDataOptions().calcs(["lastNotNull"]))
        .text_mode(BigValueTextMode.NAME if name_only else BigValueTextMode.AUTO)
        .height(4)
        .span(3)
    )


def lines(
    title: str,
    asked: Sequence[Asked],
    description: str,
    *,
    unit: str = "short",
    stacked: bool = False,
    span: int = 8,
    highest: float | None = None,
) -> timeseries.Panel:
    """Lines over time, from zero; the legend is a table with the last and the highest value."""
    built = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit(unit)
        .min(0)
        .line_width(1.5)
        .fill_opacity(20 if stacked else 5)
        .show_points(VisibilityMode.NEVER)
        .span_nulls(True)
        .color_scheme(d.FieldColor().mode(FieldColorModeId.PALETTE_CLASSIC))
        .legend(
            c.VizLegendOptions()
            .display_mode(LegendDisplayMode.TABLE)
            .placement(LegendPlacement.BOTTOM)
            .show_legend(True)
            .calcs(["lastNotNull", "max"])
        )
        .tooltip(c.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING))
        .height(8)
        .span(span)
    )
    if stacked:
        built.stacking(c.StackingConfig().mode(StackingMode.NORMAL))
    if highest is not None:
        built.max(highest)
    for index, (expr, legend) in enumerate(asked):
        built.with_target(_target(expr, legend, ref=chr(ord("A") + index)))
    return built


def states(
    title: str, expr: str, legend: str, description: str, *, span: int = 8, bad: bool = False
) -> statetimeline.Panel:
    """A bar for each series, filled while its value is not 0."""
    on = ValueMappingResult(text="yes", color=RED if bad else "blue")
    return (
        statetimeline.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .with_target(_target(expr, legend))
        .mappings([ValueMap(options={"0": ValueMappingResult(text="no", color="transparent"), "1": on})])
        .legend(c.VizLegendOptions().show_legend(False))
        .height(8)
        .span(span)
    )


def rows(
    title: str,
    columns: Sequence[tuple[str, str, str]],
    by: Sequence[str],
    description: str,
    *,
    links: dict[str, str] | None = None,
) -> table.Panel:
    """A table: `columns` (heading, query, unit) joined on the labels `by`; `links` lead on from a label."""
    built = table.Panel().title(title).description(description).datasource(SOURCE).filterable(True)
    renamed = {}
    for index, (heading, expr, unit) in enumerate(columns):
        ref = chr(ord("A") + index)
        built.with_target(_target(expr, instant=True, ref=ref).format(PromQueryFormat.TABLE))
        renamed[f"Value #{ref}"] = heading
        built.override_by_name(heading, [DynamicConfigValue(id_val="unit", value=unit)])
    for label, url in (links or {}).items():
        link = [{"title": "Open", "url": url}]
        built.override_by_name(label, [DynamicConfigValue(id_val="links", value=link)])
    order = {name: index for index, name in enumerate([*by, *renamed])}
    organize = {"excludeByName": {"Time": True}, "indexByName": order, "renameByName": renamed}
    return (
        built.with_transformation(DataTransformerConfig(id_val="merge", options={}))
        .with_transformation(DataTransformerConfig(id_val="organize", options=organize))
        .height(9)
        .span(24)
    )


def or_none(expr: str, label: str) -> str:
    """`expr`, or one series that is 0 and says none: an empty panel could be a broken one.

    `on ()` makes it one or the other: without it the series would stand beside those of `expr`.
    """
    return f'{expr} or on () label_replace(vector(0), "{label}", "none", "", "")'


def or_zero(expr: str) -> str:
    """The same for an expression without labels."""
    return f"{expr} or vector(0)"
