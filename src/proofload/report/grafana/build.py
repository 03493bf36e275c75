"""Makes the dashboards' JSON with Grafana's own builders: `python -m proofload.report.grafana.build`."""

from __future__ import annotations

from pathlib import Path

from grafana_foundation_sdk.builders import common, dashboard, prometheus, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import LegendDisplayMode, LegendPlacement
from grafana_foundation_sdk.models.dashboard import DashboardCursorSync, DataSourceRef, GridPos, VariableRefresh

from proofload.report.grafana.boards import BOARDS, Board, Panel

_SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
_OWN = DataSourceRef(type_val="grafana", uid="-- Grafana --")
_COLUMNS, _HALF, _HEIGHT = 24, 12, 8


def build(board: Board) -> str:
    """Return a dashboard as JSON, the same text for the same board."""
    made = (
        dashboard.Dashboard(board.title)
        .uid(f"proofload-{board.name}")
        .description(board.says)
        .tags(["proofload"])
        .refresh("5s")
        .time("now-15m", "now")
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
        .with_variable(
            dashboard.QueryVariable("run")
            .label("Run")
            .datasource(_SOURCE)
            .query("label_values(proofload_run_info, run)")
            .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        )
        .annotation(
            dashboard.AnnotationQuery()
            .name("Phases, cases and faults")
            .datasource(_OWN)
            .enable(True)
            .icon_color("orange")
            .target(dashboard.AnnotationTarget().limit(500).match_any(False).tags(["proofload"]).type("tags"))
        )
    )
    x = y = 0
    for number, panel in enumerate(board.panels, 1):
        width = _COLUMNS if panel.wide else _HALF
        if x + width > _COLUMNS:
            x, y = 0, y + _HEIGHT
        made.with_panel(_panel(panel, number).grid_pos(GridPos(h=_HEIGHT, w=width, x=x, y=y)))
        x += width
    return JSONEncoder(sort_keys=True, indent=2).encode(made.build()) + "\n"


def _panel(panel: Panel, number: int) -> timeseries.Panel:
    made = (
        timeseries.Panel()
        .id(number)
        .title(panel.title)
        .description(panel.says)
        .datasource(_SOURCE)
        .unit(panel.unit)
        .min(0)
        .legend(
            common.VizLegendOptions()
            .display_mode(LegendDisplayMode.LIST)
            .placement(LegendPlacement.BOTTOM)
            .show_legend(True)
            .calcs([])
        )
    )
    for letter, (expression, legend) in zip("ABCDEFGH", panel.targets, strict=False):
        target = (
            prometheus.Dataquery().ref_id(letter).expr(expression).legend_format(legend).range().datasource(_SOURCE)
        )
        made.with_target(target)
    return made


def main() -> None:
    """Write every dashboard into the package."""
    folder = Path(__file__).parent / "dashboards"
    for board in BOARDS:
        (folder / f"{board.name}.json").write_text(build(board), encoding="utf-8")


if __name__ == "__main__":
    main()
