import polars as pl
import pytest

from dashboard import data
from tests.dashboard.seeding import DATA, MAP, MEMBERS, ensemble_stage, member_stage, seed_ensemble, seed_member
from tracking import metrics
from tracking.runs import find_run, line_ups
from tracking.store import client
from tracking.writing import open_parent, open_run


def test_line_ups_are_listed_newest_first(seeded: str) -> None:
    assert line_ups() == {"synthetic": ["demo"], "audioset": ["audioset"]}
    seed_member("boosted", "audioset", "second")
    assert line_ups() == {"audioset": ["second", "audioset"], "synthetic": ["demo"]}


def test_an_empty_store_has_none(store: str) -> None:
    assert line_ups() == {}


def test_the_leaderboard_has_the_best_member_first(seeded: str) -> None:
    board = data.leaderboard(data.line_up("synthetic", "demo"))
    assert board.drop("url").rows() == [
        ("bert-l2h12-mean", "PyTorch", 0.5712, 0.6693, 0.6871, 0.47, "finished"),
        ("boosted", "LightGBM", None, 0.6510, 0.6510, 0.35, "finished"),
        ("gated-netvlad", "TensorFlow", 0.5391, 0.6204, 0.6312, 0.18, "finished"),
    ]


def test_stages_without_a_score_have_no_row(seeded: str) -> None:
    scores = data.stage_scores(data.line_up("synthetic", "demo"))
    assert scores.filter(pl.col("member") == "boosted").rows() == [
        ("boosted", "Fine-tuned", 0.6510),
        ("boosted", "Shifts merged", 0.6510),
    ]
    assert scores.height == 3 + 2 + 3


def test_a_shift_is_compared_with_none(seeded: str) -> None:
    scores = data.shift_scores(data.line_up("synthetic", "demo"))
    bert = scores.filter(pl.col("member") == "bert-l2h12-mean").with_columns(pl.col("change").round(4))
    assert bert.select("shift", "map", "change").rows() == [
        ("−2", 0.6420, -0.0273),
        ("−1", 0.6655, -0.0038),
        ("0", 0.6693, 0.0),
        ("+1", 0.6588, -0.0105),
        ("merged", 0.6871, 0.0178),
    ]


def test_weights_stand_heaviest_first(seeded: str) -> None:
    shares = data.weight_shares(data.line_up("synthetic", "demo"))
    assert shares.rows() == [
        ("bert-l2h12-mean", "PyTorch", 0.47),
        ("boosted", "LightGBM", 0.35),
        ("gated-netvlad", "TensorFlow", 0.18),
    ]


def test_the_ensemble_stands_beside_what_it_must_beat(seeded: str) -> None:
    ensemble = data.line_up("synthetic", "demo").ensemble
    assert ensemble is not None
    assert data.comparison(ensemble).rows() == [
        ("Best member alone", "on the whole holdout", 0.6871, 0.6671, 0.6871 + 0.02),
        ("Best member alone", "cross-validated", 0.6845, None, None),
        ("Equal weights", "on the whole holdout", 0.7065, 0.6821, 0.73),
        ("Equal weights", "cross-validated", 0.7052, None, None),
        ("Chosen weights", "on the whole holdout", 0.7204, 0.6958, 0.7441),
        ("Chosen weights", "cross-validated", 0.7103, None, None),
    ]


def test_the_search_keeps_its_best_so_far_and_leaves_out_members_on_their_own(seeded: str) -> None:
    ensemble = data.line_up("synthetic", "demo").ensemble
    assert ensemble is not None
    assert ensemble.trials["trial"].to_list() == list(range(3, 60))
    assert ensemble.trials["source"].unique(maintain_order=True).to_list() == ["starting guess", "proposal", "polish"]
    assert ensemble.trials["best"].to_list() == ensemble.trials["map"].cum_max().to_list()
    assert ensemble.trials["best"].last() == MAP


def test_a_failure_is_told_with_its_reason_and_forgotten_when_repeated(seeded: str) -> None:
    ((whose, run),) = data.troubles(data.line_up("audioset", "audioset"))
    assert (whose, data.stage_name(run)) == ("bert-l2h8-mean", "fine-tuning")
    assert data.error(run) == "the loss is not finite at step 17; lower the learning rate"
    board = data.leaderboard(data.line_up("audioset", "audioset"))
    assert dict(board.select("member", "state").rows())["bert-l2h8-mean"] == "failed in fine-tuning"

    with member_stage("bert-l2h8-mean", "finetune", "audioset", "audioset").open():
        assert data.line_up("audioset", "audioset").members[-1].state == "running fine-tuning"
    assert data.troubles(data.line_up("audioset", "audioset")) == []


def test_a_run_whose_process_was_killed_is_shown_as_stopped_and_not_written(seeded: str) -> None:
    run = find_run("synthetic", kind="member", member="boosted")
    client().set_tag(run.run_id, "pid", "4194305@1")
    client().update_run(run.run_id, status="RUNNING")
    states = {member.name: member.state for member in data.line_up("synthetic", "demo").members}
    assert states["boosted"] == "stopped"
    assert client().get_run(run.run_id).info.status == "RUNNING"


def test_provenance_names_data_code_and_seed(seeded: str) -> None:
    seed_member("gated-netvlad", seed=7)  # run again with another seed, so the newest stages have it
    table = data.provenance(data.line_up("synthetic", "demo"))
    rows = {row["name"]: row for row in table.iter_rows(named=True)}
    assert set(rows) == {*MEMBERS, "ensemble"}
    assert rows["gated-netvlad"]["seed"] == "7"
    assert rows["ensemble"]["seed"] == "3"
    assert {row["data"] for row in rows.values()} == {DATA[:12]}


def test_members_of_two_data_versions_are_told_apart(seeded: str) -> None:
    with (
        open_parent("synthetic", "late", {"kind": "member", "member": "late", "lineup": "demo"}) as parent,
        open_run("synthetic", "pretrain", {"stage": "pretrain", "data_digest": "another"}, parent.run_id),
    ):
        pass
    table = data.provenance(data.line_up("synthetic", "demo"))
    assert table["data"].n_unique() == 2


def test_an_ensemble_that_is_only_begun_has_no_weights(store: str) -> None:
    seed_member("boosted")
    with open_parent("synthetic", "ensemble demo", {"kind": "ensemble", "lineup": "demo"}):
        pass
    begun = data.line_up("synthetic", "demo").ensemble
    assert begun is not None
    assert begun.weights == {}
    assert begun.trials.is_empty()
    assert data.comparison(begun).is_empty()
    seed_ensemble()
    again = data.line_up("synthetic", "demo").ensemble
    assert again is not None
    assert again.weights


@pytest.mark.parametrize(
    ("variables", "start"),
    [
        ({}, "http://127.0.0.1:5000/#/experiments/"),
        ({"MLFLOW_UI": "https://runs.example.org/mlflow/"}, "https://runs.example.org/mlflow/#/experiments/"),
    ],
)
def test_links_go_to_the_mlflow_ui(
    seeded: str, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], start: str
) -> None:
    monkeypatch.delenv("MLFLOW_UI", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    run = find_run("synthetic", kind="ensemble")
    url = f"{start}{run.experiment_id}/runs/{run.run_id}?workflowType=machine_learning"
    assert data.mlflow_url(run) == url


def test_a_link_to_a_server_has_no_password(seeded: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run = find_run("synthetic", kind="ensemble")
    monkeypatch.delenv("MLFLOW_UI", raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://anna:s3cr3t@example.org/mlflow")
    assert data.mlflow_url(run).startswith("https://example.org/mlflow/#/experiments/")


@pytest.mark.usefixtures("store")
def test_scores_and_weight_of_a_member_are_of_one_chain_of_runs() -> None:
    """Each stage in its turn is repeated with other results, and what was made of its earlier run is not shown."""

    def shown() -> tuple[float | None, ...]:
        (member,) = data.line_up("synthetic", "demo").members
        return (member.pretrained, member.finetuned, member.merged, member.weight)

    def run(stage: str, params: dict[str, str], split: str = "", score: float | None = None) -> str:
        with member_stage("boosted", stage, "synthetic", "demo", split).open() as opened:
            opened.run.params(params)
            opened.headline({} if score is None else {metrics.map_of(stage): score})
        return opened.run.run_id

    def search(infer: str, merged: float) -> None:
        with ensemble_stage("optimize", "synthetic", "demo").open() as opened:
            opened.run.params({"infer_run/boosted": infer})
            opened.headline({metrics.weight("boosted"): 1.0})
        with open_parent(
            "synthetic", "boosted", member_stage("boosted", "x", "synthetic", "demo").parent.identity
        ) as own:
            own.metrics({metrics.map_of(metrics.MERGED): merged})

    pretrained = run("pretrain", {}, score=0.1)
    tuned = run("finetune", {"start_run": pretrained}, score=0.2)
    infer = run("infer", {"checkpoint_run": tuned}, "holdout")
    search(infer, 0.3)
    assert shown() == (0.1, 0.2, 0.3, 1.0)
    pretrained = run("pretrain", {}, score=0.5)
    assert shown() == (0.5, None, None, None)
    tuned = run("finetune", {"start_run": pretrained}, score=0.6)
    assert shown() == (0.5, 0.6, None, None)
    infer = run("infer", {"checkpoint_run": tuned}, "holdout")
    assert shown() == (0.5, 0.6, None, None)
    search(infer, 0.7)
    assert shown() == (0.5, 0.6, 0.7, 1.0)


@pytest.mark.parametrize(("cross_validated", "best"), [(0.7103, "the chosen weights"), (0.7001, "equal weights")])
def test_what_to_submit_is_what_scores_highest_on_videos_that_did_not_choose_it(
    store: str, cross_validated: float, best: str
) -> None:
    seed_member("boosted")
    seed_ensemble(cross_validated=cross_validated)
    ensemble = data.line_up("synthetic", "demo").ensemble
    assert ensemble is not None
    words = data.recommendation(ensemble) or ""
    assert words.startswith(f"By the cross-validated figures, submit the ensemble with {best}: 0.7")
    for score in (cross_validated, 0.7052, 0.6845):
        assert f"{score:.4f}" in words
