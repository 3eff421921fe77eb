"""A line-up as one HTML file to send to somebody without a server: tables to copy, and pictures of the charts."""

from collections.abc import Mapping
from datetime import UTC, datetime
from html import escape
from urllib.parse import quote

import polars as pl

from dashboard import charts, claims, data, ensemble_charts, leaderboard, losses, stages, tables
from dashboard.evidence import Evidence, evidence
from dashboard.pictures import file_name, svg
from scoring.measures.similarity import clustered_order
from tracking import metrics

STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
.table { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.85rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.3rem 0.7rem; border-bottom: 1px solid #8884; text-align: left; white-space: nowrap; }
td.number, th.number { text-align: right; }
figure { margin: 1.5rem 0; padding: 0.5rem; background: white; border-radius: 6px; overflow-x: auto; }
figure svg { max-width: 100%; height: auto; }
textarea { width: 100%; height: 10rem; font: 0.8rem monospace; }
.note { color: #888; }
"""


def report(line_up: data.LineUp, *, command: str) -> str:
    """The report as HTML without references to other files; `command` is what made it. Names are escaped."""
    measured = evidence(line_up)
    title = f"{line_up.dataset}, line-up {line_up.name}"
    parts = [f"<h1>{escape(title)}</h1>", _origin(command), *_overview(line_up), *_members(line_up, measured)]
    if not isinstance(measured, str):
        parts += [*_ensemble(line_up, measured), *_lost(measured)]
    parts += _claims(line_up)
    parts += ["<h2>Where these numbers come from</h2>", _table(data.provenance(line_up), PROVENANCE)]
    body = "\n".join(parts)
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style>'
    head += '<meta name="viewport" content="width=device-width">'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'


PROVENANCE = {
    "name": "Run of",
    "data": "Data (digest)",
    "commit": "Code (commit)",
    "seed": "Seed",
    "finished": "Finished",
}


def _origin(command: str) -> str:
    return f'<p class="note">Made on {datetime.now(UTC):%Y-%m-%d %H:%M} UTC by <code>{escape(command)}</code>.</p>'


def _overview(line_up: data.LineUp) -> list[str]:
    parts = ["<h2>Overview</h2>"]
    ensemble = line_up.ensemble if line_up.ensemble and line_up.ensemble.weights else None
    if ensemble:
        scores = data.comparison(ensemble)
        titles = {"what": "Ranking", "measure": "Measured", "map": "MAP@100K", "low": "Interval from", "high": "to"}
        if words := data.recommendation(ensemble):
            parts.append(f"<p><strong>{escape(words)}</strong></p>")
        parts += [
            "<p>MAP@100K on the holdout: 1 is perfect, higher is better. On the whole holdout the chosen weights are "
            "optimistic, because they were chosen on it; cross-validated figures are chosen on half of the videos and "
            "scored on the other half.</p>",
            _table(scores, titles),
            _picture(charts.gains(scores), "MAP of the ensemble and of its baselines"),
        ]
    rows = stages.board(line_up)
    wide = stages.table(rows, [])
    return [*parts, "<h3>Work</h3>", _table(wide, {name: name for name in wide.columns})]


def _members(line_up: data.LineUp, measured: Evidence | str) -> list[str]:
    known = None if isinstance(measured, str) else measured
    board = leaderboard.table(
        line_up,
        pairs=known and known.pairs,
        resampled=known and known.standing,
        similar=known and known.similar,
    )
    scores = board.select("member", "map", "low", "high").drop_nulls("map")
    parts = ["<h2>Members</h2>"]
    if isinstance(measured, str):
        parts.append(f"<p>{escape(measured)}</p>")
    else:
        parts.append("<p>Members that share a letter cannot be told apart (paired by video, 5 %, Holm-corrected).</p>")
    parts.append(_board(board))
    if not scores.is_empty():
        parts.append(_picture(charts.members(scores, _colours(line_up)), "MAP of each member with its interval"))
    for table, draw, alt in (
        (data.stage_scores(line_up), charts.stages, "MAP of each member after each stage"),
        (data.shift_scores(line_up), charts.shifts, "MAP of each member under each shift"),
    ):
        if not table.is_empty():
            parts += [f"<h3>{alt}</h3>", _picture(draw(table), alt)]
    return [*parts, *_settings(line_up, board)]


def _board(board: pl.DataFrame) -> str:
    """The leaderboard without the columns that have no value."""
    return _table(board, {n: title for n, title in leaderboard.TITLES.items() if board[n].null_count() < board.height})


def _settings(line_up: data.LineUp, board: pl.DataFrame) -> list[str]:
    """Members that differ in their seed alone as one row each, and the settings in which members differ."""
    settings = leaderboard.all_settings(line_up)
    parts = []
    averaged = leaderboard.by_seed(board, settings)
    if averaged.height < board.height:
        parts += ["<h3>Averages over seeds</h3>", _board(averaged)]
    names = [member.name for member in line_up.members]
    different = leaderboard.differing(settings, names)
    if len(names) > 1 and not different.is_empty():
        parts += ["<h3>Settings that differ</h3>", _table(different, {"setting": "Setting", **{n: n for n in names}})]
    return parts


def _claims(line_up: data.LineUp) -> list[str]:
    if not claims.has_published(line_up):
        return []
    columns = {"claim": "Claim", "where": "Where", "subject": "Measured on", "before": "Before", "after": "After"}
    return [
        "<h2>Claims</h2>",
        f"<p>{escape(claims.about(line_up.dataset))}</p>",
        _table(claims.claims(line_up), {**columns, "gain": "Gain"}),
        _table(claims.members(line_up), claims.TITLES),
    ]


def _ensemble(line_up: data.LineUp, measured: Evidence) -> list[str]:
    ensemble = line_up.ensemble
    assert ensemble is not None  # it has been measured
    names = [member.name for member in line_up.members]
    parts = ["<h2>Ensemble</h2>", _picture(ensemble_charts.shares(ensemble.weights, names), "Weight of each member")]
    lost = {name: value for name in names if (value := ensemble.score(metrics.leave_one_out(name))) is not None}
    if lost:
        parts.append(_picture(ensemble_charts.left_out(lost, names), "MAP lost without each member"))
    table = measured.similar
    if not table.is_empty():
        about = "Spearman's correlation of the first segments, mean of classes: near 1, two members add little."
        order = clustered_order(table, "correlation")
        parts.append(_picture(ensemble_charts.similarity(table, order, "correlation", about), "Similarity of members"))
    return parts


def _lost(measured: Evidence) -> list[str]:
    tables_of_run = losses.of_run(measured.run)
    if tables_of_run is None:
        return []
    lost, _ = tables_of_run
    wide = losses.gains(lost)
    gains = lost.filter(ranking=losses.ENSEMBLE)
    return [
        "<h2>What is lost</h2>",
        "<p>MAP gained if one kind of error never happened. The gains do not add up.</p>",
        _table(wide, {name: name for name in wide.columns}),
        _picture(ensemble_charts.oracles(gains), "Gain of MAP under each oracle"),
    ]


def _colours(line_up: data.LineUp) -> dict[str, str]:
    return charts.member_colours(member.name for member in line_up.members)


def _picture(chart: charts.Chart, alt: str) -> str:
    drawn = svg(chart)
    link = f'<a download="{file_name(alt)}.svg" href="data:image/svg+xml,{quote(drawn)}">Download as SVG</a>'
    return f'<figure role="img" aria-label="{escape(alt)}">{drawn}</figure>\n<p class="note">{link}</p>'


def _table(table: pl.DataFrame, titles: Mapping[str, str]) -> str:
    """A table, and below it the same as text to copy."""
    kinds = {name: ' class="number"' if table[name].dtype.is_numeric() else "" for name in titles}
    head = "".join(f"<th{kinds[name]}>{escape(title)}</th>" for name, title in titles.items())
    rows = [
        "".join(
            f"<td{kinds[name]}>{escape(tables.cell_text(value))}</td>" for name, value in zip(titles, row, strict=True)
        )
        for row in table.select(*titles).iter_rows()
    ]
    body = "\n".join(f"<tr>{row}</tr>" for row in rows)
    forms = {
        "CSV": tables.as_csv(table.select(*titles)),
        "Markdown": tables.as_markdown(table, titles),
        "LaTeX": tables.as_latex(table, titles),
    }
    copies = "\n".join(
        f'<p>{form}</p><textarea readonly aria-label="{form}">{escape(text)}</textarea>' for form, text in forms.items()
    )
    return (
        f'<div class="table"><table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div>\n'
        f"<details><summary>Copy as CSV, Markdown or LaTeX</summary>{copies}</details>"
    )
