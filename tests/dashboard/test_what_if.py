"""The page What if, as Streamlit runs it, on a line-up that was really searched."""

import polars as pl
from streamlit.testing.v1 import AppTest

from dashboard import choices
from dashboard.choices import Choice
from scoring.fusion.fusion import MEMBER_K, fuse
from scoring.lists.opening import open_submissions
from scoring.measures.average_precision import mean_average_precision
from scoring.measures.bootstrap import Difference
from scoring.weights.weights_json import read_weights
from tests.dashboard.searched import EXPERIMENT, LINEUP, MEMBERS
from tests.dashboard.test_pages import address, metrics, opened, words
from tracking import runs
from tracking.runs import find_run, find_runs
from videos.judgments import Judgments

PAGE = {"dataset": EXPERIMENT, "lineup": LINEUP}
HOSTILE = "<script>alert(1)</script> **bold** " + "x" * 40


def page(**more: str) -> AppTest:
    return opened("what_if", **PAGE, **more)


def map_on_full_lists(weights: dict[str, float], k: float) -> float:
    merge = find_run(EXPERIMENT, stage="merge", split="holdout")
    lists = open_submissions([merge.artifact(member) for member in MEMBERS])
    whole = {member: source.read(source.classes) for member, source in lists.items()}
    pairs = pl.read_parquet(find_run(EXPERIMENT, stage="optimize").artifact("judgments.parquet"))
    return mean_average_precision(fuse(whole, weights, k), Judgments(pairs).pairs).map


def test_sliders_score_as_the_full_lists_do(searched: str) -> None:
    app = page()
    best = read_weights(find_run(EXPERIMENT, stage="optimize").artifact("weights.json"))
    assert best.objective is not None
    shown = metrics(app)
    assert shown["MAP@100K, 95 % interval"][0] == f"{best.objective.map:.4f}"
    assert shown["Gain over the chosen weights"][1] == f"which has {best.objective.map:.4f}"
    assert shown["Gain over equal weights"][1] == f"which has {best.objective.equal_weights:.4f}"
    for member, weight in zip(MEMBERS, (0.9, 0.2, 0.4), strict=True):
        app.checkbox(key=f"on {member}").set_value(True)
        app.slider(key=f"weight {member}").set_value(weight)
    app.select_slider(key="what_if_k").set_value(30.0).run()
    weights = dict(zip(MEMBERS, (0.9, 0.2, 0.4), strict=True))
    assert metrics(app)["MAP@100K, 95 % interval"][0] == f"{map_on_full_lists(weights, 30.0):.4f}"
    assert "Intervals and p are paired by video." in words(app)

    # A member that is off takes no part; the address shares the view.
    app.checkbox(key=f"on {MEMBERS[1]}").uncheck().run()
    two = metrics(app)["MAP@100K, 95 % interval"]
    assert two[0] == f"{map_on_full_lists({**weights, MEMBERS[1]: 0.0}, 30.0):.4f}"
    link = {name: address(app)[name] for name in ("weights", "k")}
    again = page(**link)
    assert metrics(again)["MAP@100K, 95 % interval"] == two
    assert not again.checkbox(key=f"on {MEMBERS[1]}").value

    app.button(key="to_equal").click().run()
    assert metrics(app)["Gain over equal weights"][0] == "+0.0000"
    assert app.select_slider(key="what_if_k").value == MEMBER_K
    for member in MEMBERS:
        app.checkbox(key=f"on {member}").uncheck()
    app.run()
    assert "Give at least one member a weight above 0." in words(app)
    assert not app.exception


def test_looking_changes_nothing(searched: str) -> None:
    before = find_runs(finished=False)
    app = page()
    app.button(key="to_equal").click().run()
    assert find_runs(finished=False) == before


def test_a_choice_is_saved_under_a_name_and_its_submission_downloaded(searched: str) -> None:
    app = page()
    app.checkbox(key=f"on {MEMBERS[2]}").uncheck().run()
    app.text_input(key="save_name").set_value(HOSTILE)
    app.text_input(key="save_author").set_value("Ann")
    save = next(button for button in app.button if button.label == "Save and fuse")
    save.click().run()
    assert "the reason is empty" in app.error[0].value
    assert not find_runs(EXPERIMENT, kind="named")

    app.text_input(key="save_reason").set_value("the third adds nothing")
    next(button for button in app.button if button.label == "Save and fuse").click().run()
    assert not app.exception
    assert r"Saved as \<script\>alert(1)\</script\> \*\*bold\*\*" in app.success[0].value
    parent = find_run(EXPERIMENT, kind="named")
    assert parent.tags[runs.ENSEMBLE] == HOSTILE
    assert parent.metrics[f"weight/{MEMBERS[2]}"] == 0
    assert f"{parent.metrics['ensemble/map']:.4f}" == metrics(app)["MAP@100K, 95 % interval"][0]
    assert {run.tags[runs.SPLIT] for run in find_runs(EXPERIMENT, stage="fuse") if run.parent == parent.run_id} == {
        "holdout",
        "test",
    }
    assert "Download the submission (CSV)" in [button.proto.label for button in app.get("download_button")]


def test_a_line_up_without_a_search_or_its_tables_gets_help(seeded: str) -> None:
    app = opened("what_if", dataset="audioset", lineup="audioset")
    assert "have not been searched yet" in words(app)
    assert "python -m training run --lineup audioset" in words(app)
    earlier = opened("what_if", dataset="synthetic", lineup="demo")  # its search logged fewer tables
    assert "make it again" in words(earlier)


def test_a_figure_that_only_the_full_lists_decide_is_shown_with_its_bounds(searched: str) -> None:
    table = find_run(EXPERIMENT, stage="optimize").artifact("judged_pairs.parquet")
    pl.read_parquet(table).with_columns(reach=pl.lit(1, pl.UInt32)).write_parquet(table)
    shown = words(page())
    assert "too near rank 100,000 to be decided" in shown
    assert "the exact MAP is between 0." in shown


def test_names_of_members_are_shown_as_text(searched: str) -> None:
    search = find_run(EXPERIMENT, stage="optimize")
    name = "<script>alert(1)</script> *b* $x$ [a](b)"
    table = search.artifact("judged_pairs.parquet")
    pl.read_parquet(table).rename({f"rank/{MEMBERS[0]}": f"rank/{name}"}).write_parquet(table)
    chosen = search.artifact("weights.json")
    chosen.write_text(chosen.read_text().replace(MEMBERS[0], name))
    labels = [slider.label for slider in page().slider]
    assert r"\<script\>alert(1)\</script\> \*b\* \$x\$ \[a\](b)" in labels


def test_an_address_that_does_not_fit_is_ignored() -> None:
    members = ["a", "b"]
    choice = Choice({"a": 0.25, "b": 1.0}, 5.0)
    assert choices.from_address(choices.to_address(choice), members) == choice
    for weights, k in (
        ("{", "5"),
        ("[1]", "5"),
        ("{}", "5"),
        ('{"c":1}', "5"),
        ('{"a":2}', "5"),
        ('{"a":NaN}', "5"),
        ('{"a":1}', "nan"),
        ('{"a":1}', "-3"),
        ('{"a":null}', "5"),
    ):
        assert choices.from_address({"weights": weights, "k": k}, members) is None


def test_a_verdict_names_what_the_interval_allows() -> None:
    assert choices.verdict(Difference(0.02, 0.01, 0.03, 1.0, 0.001, 40)).startswith("better: 95 % interval +0.0100")
    assert choices.verdict(Difference(-0.02, -0.03, -0.01, 0.0, 0.001, 40)).startswith("worse: ")
    assert choices.verdict(Difference(0.0, -0.03, 0.01, 0.5, 0.9, 40)).startswith("not told apart: ")
    assert choices.verdict(Difference(0.0, 0.0, 0.0, 0.0, 1.0, 40)).startswith("no difference")
    assert "too few" in choices.verdict(Difference(0.0, -1, 1, 0.5, 1.0, 4))
