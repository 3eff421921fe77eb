import numpy as np
import polars as pl
import pytest

from dashboard import data, leaderboard
from dashboard.leaderboard import Standing
from scoring.measures.average_precision import Evaluation
from scoring.measures.bootstrap import Difference, Resampled
from tests.dashboard.seeding import member_stage, seed_ensemble, seed_member
from tracking import metrics

PAIRS = pl.DataFrame(
    {
        "class_id": pl.Series([0, 0, 0, 1, 1], dtype=pl.UInt16),
        "segment_id": ["a:0", "b:0", "c:0", "a:0", "b:0"],
        "relevance": pl.Series([1, 0, 1, 1, 0], dtype=pl.Int16),
        "rank/good": pl.Series([1, 9, 2, 1, 11], dtype=pl.UInt32),
        "rank/poor": pl.Series([200, 1, None, 8, 2], dtype=pl.UInt32),
    }
)


def test_members_stand_best_first_with_the_map_of_their_ranks() -> None:
    found = leaderboard.standing(PAIRS)
    assert list(found.members) == ["good", "poor"]
    assert found.members["good"].map == 1.0
    # Class 0: the positive at rank 200 is second of the judged ones, the other is not listed; class 1: second.
    assert found.members["poor"].map == pytest.approx(((1 / 2) / 2 + 1 / 2) / 2)


def test_judged_shares_count_judged_segments_among_the_first() -> None:
    rows = {row["member"]: row for row in leaderboard.judged_at(PAIRS).iter_rows(named=True)}
    assert rows["good"]["judged_10"] == pytest.approx((3 / 10 + 1 / 10) / 2)
    assert rows["poor"]["judged_10"] == pytest.approx((1 / 10 + 2 / 10) / 2)
    assert rows["poor"]["judged_100"] == pytest.approx((1 / 100 + 2 / 100) / 2)
    assert rows["poor"]["judged_1000"] == pytest.approx((2 / 1000 + 2 / 1000) / 2)


class Fixed(Resampled):
    """A result whose p-value against any other is given: 0 for those whose values differ by more than 1."""

    def __new__(cls, value: float) -> "Fixed":
        return object.__new__(cls)

    def __init__(self, value: float):
        evaluation = Evaluation(value, 1, 1, 1, 1, pl.DataFrame())
        super().__init__(value, np.zeros(1), np.zeros(1), 40, evaluation)

    def over(self, other: Resampled) -> Difference:
        difference = self.map - other.map
        return Difference(difference, difference - 1, difference + 1, 1.0, 0.0 if abs(difference) > 1 else 1.0, 40)


def test_members_share_a_letter_exactly_if_they_are_not_told_apart() -> None:
    values = {"a": 5.0, "b": 4.5, "c": 3.6, "d": 3.0, "e": 0.0}
    groups = Standing({name: Fixed(value) for name, value in values.items()}).groups()
    assert groups == {"a": "a", "b": "ab", "c": "bc", "d": "c", "e": "d"}
    for one in values:
        for other in values:
            assert bool(set(groups[one]) & set(groups[other])) == (abs(values[one] - values[other]) <= 1)


def test_differences_are_signed_and_paired() -> None:
    values = {"a": 5.0, "b": 4.5}
    board = pl.DataFrame(
        [{"member": name, "map": value, "low": 0.0, "high": 9.0, "judged_10": 0.5} for name, value in values.items()],
        leaderboard.SCHEMA,
    )
    found = Standing({name: Fixed(value) for name, value in values.items()})
    changed = leaderboard.against(board, "a", found)
    assert changed.select("member", "map", "low", "high", "p", "judged_10").rows() == [
        ("a", 0.0, None, None, None, 0.0),
        ("b", -0.5, -1.5, 0.5, 1.0, 0.0),
    ]
    assert leaderboard.against(board, "a", None)["low"].null_count() == 2


def seeded_pair(store: str) -> data.LineUp:
    for number, name in enumerate(("twin-seed0", "twin-seed1", "other")):
        with member_stage(name, "finetune", "synthetic", "demo").open() as opened:
            opened.run.params({"layers": 3 if name == "other" else 2, "seed": number, "start_run": f"run{number}"})
            opened.headline({"finetune/map": 0.5 + 0.1 * number})
    return data.line_up("synthetic", "demo")


def test_members_that_differ_in_their_seed_alone_are_one_row_with_a_spread(store: str) -> None:
    line_up = seeded_pair(store)
    board = leaderboard.table(line_up, pairs=None, resampled=None, similar=None)
    merged = leaderboard.by_seed(board, leaderboard.all_settings(line_up))
    rows = {row["member"]: row for row in merged.iter_rows(named=True)}
    assert list(rows) == ["other", "twin (2 seeds)"]
    twin = rows["twin (2 seeds)"]
    assert twin["map"] == pytest.approx(0.55)
    assert twin["spread"] == pytest.approx(0.1 / 2**0.5)
    assert rows["other"]["spread"] is None


def test_only_settings_that_differ_are_listed(store: str) -> None:
    settings = leaderboard.all_settings(seeded_pair(store))
    assert leaderboard.differing(settings, ["twin-seed0", "twin-seed1"]).rows() == [("finetune seed", "0", "1")]
    assert leaderboard.differing(settings, ["twin-seed0", "other"])["setting"].to_list() == [
        "finetune layers",
        "finetune seed",
    ]


def test_a_member_without_weight_has_a_reason_and_the_member_that_dominates_it(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("bert-l2h12-mean", "boosted"):
        seed_member(name)
    seed_ensemble()
    line_up = data.line_up("synthetic", "demo")
    assert line_up.ensemble is not None
    line_up.ensemble.run.metrics.update({"weight/boosted": 0.0, "leave_one_out/bert-l2h12-mean": 0.0})
    similar = pl.DataFrame(
        {
            "member": ["boosted", "boosted", "bert-l2h12-mean"],
            "other": ["bert-l2h12-mean", "gated-netvlad", "gated-netvlad"],
            "correlation": [0.97, 0.5, 0.2],
        }
    )
    assert leaderboard.why_unneeded(line_up, similar) == {
        "boosted": "adds nothing on the holdout; dominated by bert-l2h12-mean at rank correlation 0.97",
        "bert-l2h12-mean": "the ensemble is no worse without it",
    }
    assert leaderboard.why_unneeded(line_up, None)["boosted"] == "adds nothing on the holdout"
    # A search leaves weights of 1e-7, which are none: such a member is not needed and dominates nobody.
    line_up.ensemble.run.metrics.update({"weight/boosted": 1e-7, "weight/bert-l2h12-mean": 1e-7})
    assert leaderboard.why_unneeded(line_up, similar)["boosted"] == "adds nothing on the holdout"


def test_the_best_step_of_finetuning_is_counted_from_its_start(store: str) -> None:
    with member_stage("taught", "pretrain", "synthetic", "demo").open() as pretrained:
        pretrained.run.metrics({metrics.CHOSEN_STEP: 1600})
    for name, start in (("taught", pretrained.run.run_id), ("other", "run of another line-up"), ("scratch", "")):
        with member_stage(name, "finetune", "synthetic", "demo").open() as opened:
            opened.run.params({"steps": 120, "start_run": start})
            opened.run.metrics({metrics.CHOSEN_STEP: 1700 if start else 60})
    board = leaderboard.table(data.line_up("synthetic", "demo"), pairs=None, resampled=None, similar=None)
    assert dict(board.select("member", "best_step").rows()) == {"taught": 100, "other": None, "scratch": 60}
