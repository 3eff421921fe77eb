"""Pages that read judged pairs and lists, as Streamlit runs them on a line-up that was really searched and fused."""

import re
import shutil
from io import StringIO

import polars as pl
import pytest
from streamlit.testing.v1 import AppTest

from dashboard import class_charts, data, timeline
from tests.dashboard.searched import EXPERIMENT, LINEUP, MEMBERS
from tests.dashboard.test_pages import opened, words
from tracking.runs import find_run
from videos.segments import videos_of


def page(name: str, **address: str) -> AppTest:
    return opened(name, dataset=EXPERIMENT, lineup=LINEUP, **address)


def test_members_have_ties_intervals_and_judged_shares(searched: str) -> None:
    app = page("members")
    board = app.dataframe[0].value
    assert set(board["member"]) == set(MEMBERS)
    for low, middle, high in zip(board["low"], board["map"], board["high"], strict=True):
        assert low <= middle <= high
    assert board["group"].iloc[0].startswith("a")
    assert min(board["judged_10"]) > 0
    assert "has the highest MAP" in words(app)
    assert not app.error


def test_a_reference_turns_every_number_into_a_difference(searched: str) -> None:
    app = page("members")
    values = dict(zip(app.dataframe[0].value["member"], app.dataframe[0].value["map"], strict=True))
    app.selectbox(key="reference").select(MEMBERS[1]).run()
    changed = app.dataframe[0].value
    for name, change in zip(changed["member"], changed["map"], strict=True):
        assert change == pytest.approx(values[name] - values[MEMBERS[1]])
    assert f"minus those of **{MEMBERS[1]}**" in words(app)


def test_a_filter_that_nothing_meets_says_so(searched: str) -> None:
    app = page("members")
    app.text_input(key="filter").input("NETVLAD").run()
    assert set(app.dataframe[0].value["member"]) == {"gated-netvlad"}
    app.text_input(key="filter").input("nothing").run()
    assert "No member has this in its name." in words(app)


def test_a_member_shows_its_classes_and_where_it_comes_from(searched: str) -> None:
    app = page("member", member="gated-netvlad")
    assert "Hardest classes" in [header.value for header in app.subheader]
    hardest, easiest = (app.dataframe[number].value["ap"].to_list() for number in (0, 1))
    assert hardest == sorted(hardest)
    assert easiest == sorted(easiest, reverse=True)
    assert app.dataframe[2].value["stage"].to_list() == ["inference (holdout)", "inference (test)"]
    assert not app.error


def test_a_member_that_trained_has_learning_curves(seeded: str) -> None:
    app = opened("member")
    assert len(app.get("vega_lite_chart")) == 3  # MAP, loss, shifts
    assert "have not been measured together" in words(app) or "are left out" in words(app)
    assert not app.error


def test_two_are_compared_class_by_class_and_segment_by_segment(searched: str) -> None:
    app = page("compare", a=MEMBERS[0], b=MEMBERS[1])
    assert f"**{MEMBERS[1]}** minus **{MEMBERS[0]}**" in words(app)
    contrasts = [abs(change) for change in app.dataframe[0].value["change"]]
    assert contrasts == sorted(contrasts, reverse=True)
    moves = app.dataframe[1].value
    assert set(moves["judged"]) <= {"yes", "no", "unjudged"}
    for one, other, moved in zip(moves["one"], moves["other"], moves["moved"], strict=True):
        assert moved == one - other or moved != moved  # nan where a rank is not known
    app.selectbox(key="b").select(MEMBERS[0]).run()
    assert "Choose two different ones." in words(app)
    assert not app.error


def test_segments_show_every_list_and_a_video_in_time(searched: str) -> None:
    app = page("segments")
    table = app.dataframe[0].value
    assert set(MEMBERS) < set(table.columns)
    assert len(table) == 10
    assert len(app.get("vega_lite_chart")) == len(MEMBERS)
    assert not app.error


@pytest.mark.parametrize("name", ["member", "compare", "segments"])
def test_a_line_up_that_was_not_measured_is_a_sentence(seeded: str, name: str) -> None:
    app = opened(name, dataset="audioset")
    assert "have not been measured together yet" in words(app)
    assert not app.error


@pytest.mark.parametrize("name", ["overview", "members", "member", "compare", "segments"])
def test_files_that_are_cut_off_or_gone_are_a_sentence(searched: str, name: str) -> None:
    fused = find_run(EXPERIMENT, stage="fuse", split="holdout")
    merged = find_run(EXPERIMENT, stage="merge", split="holdout")
    pairs = fused.artifact("judged_pairs.parquet")
    pairs.write_bytes(pairs.read_bytes()[:100])
    merged.artifact("top.parquet").unlink()
    shutil.rmtree(find_run(EXPERIMENT, stage="infer", split="holdout").artifact("predictions"))
    app = page(name)
    assert app.title
    assert not app.exception


def test_a_timeline_has_every_segment_of_the_video_under_every_shift(searched: str) -> None:
    line_up = data.line_up(EXPERIMENT, LINEUP)
    runs = {m.name: run for m in line_up.members if (run := data.finished(m.stages, "infer", "holdout"))}
    segments = pl.read_parquet(runs[MEMBERS[0]].artifact("predictions/segments.parquet"))
    video = videos_of(segments)[0]
    scores = timeline.shift_scores(runs, class_id=0, video=video)
    assert set(scores["member"]) == set(MEMBERS)
    assert sorted(scores["shift"].unique()) == [-1, 0, 1]
    assert scores.group_by("member", "shift").len()["len"].n_unique() == 1
    best = scores.sort("rank").group_by("member", "shift", maintain_order=True).first()
    assert (best["score"] >= scores["score"].min()).all()


def test_ratings_are_drawn_at_the_bottom_of_a_timeline() -> None:
    scores = pl.DataFrame({"shift": [0, 0], "start": [0, 5], "rank": [3, 700], "score": [0.5, 0.1]})
    rated = pl.DataFrame({"start": [0, 5], "judged": ["yes", "no"]})
    svg = StringIO()
    class_charts.timeline(scores, rated, "bert").save(svg, format="svg")
    drawn = re.findall(r"translate\(([\d.]+),([\d.]+)\)[^>]*>([✓✗])<", svg.getvalue())
    assert [mark for _, _, mark in drawn] == ["✓", "✗"]
    assert float(drawn[0][0]) < float(drawn[1][0])
    assert 0 < float(drawn[0][1]) == float(drawn[1][1]) < class_charts.HEIGHT


def test_predictions_too_large_for_a_page_are_a_sentence(searched: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeline, "LARGEST", 10)
    app = page("segments")
    assert "more than a page reads" in words(app)
