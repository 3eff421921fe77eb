"""What somebody deleted, renamed or retagged in the MLflow UI is named with the remedy, and is not made again."""

import pytest

from tests.tracking.test_stage import IDENTITY, finish, stage
from tracking.liveness import process_tags
from tracking.runs import find_runs
from tracking.stage import Parent
from tracking.store import client, experiment_id
from tracking.writing import reap

pytestmark = pytest.mark.usefixtures("store")


def test_a_deleted_stage_is_not_made_again_unless_asked(store: str) -> None:
    run = finish(stage("one"))
    client().delete_run(run.run_id)
    restore = (
        rf"was deleted; bring it back with `MLFLOW_TRACKING_URI={store} mlflow runs restore --run-id {run.run_id}`"
    )
    with pytest.raises(ValueError, match=rf"the finished run of a infer {restore}, or repeat .* --force"):
        stage("one").run_once(False, lambda: pytest.fail("the stage ran again"))
    client().restore_run(run.run_id)
    assert stage("one").run_once(False, lambda: pytest.fail("the stage ran again")).run_id == run.run_id
    client().delete_run(run.run_id)
    again = stage("one").run_once(True, lambda: finish(stage("one")))
    assert stage("one").run_once(False, lambda: pytest.fail("the stage ran again")).run_id == again.run_id


def test_a_stage_of_a_renamed_experiment_is_not_made_again_unless_asked(store: str) -> None:
    run = finish(stage("one"))
    client().rename_experiment(run.experiment_id, "toys of last year")
    undo = (
        rf"`MLFLOW_TRACKING_URI={store} mlflow experiments rename --experiment-id {run.experiment_id} --new-name toy`"
    )
    with pytest.raises(
        ValueError, match=rf"is in the experiment toys of last year, which was renamed; .*{undo}, or rep"
    ):
        stage("one").run_once(False, lambda: pytest.fail("the stage ran again"))
    assert stage("one").run_once(True, lambda: finish(stage("one"))).experiment == "toy"


@pytest.mark.parametrize("tag", ["dataset", "lineup", "member", "stage", "data_digest"])
def test_a_retagged_stage_is_not_made_again_unless_asked(tag: str) -> None:
    run = finish(stage("one", "holdout"))
    value = run.tags[tag]
    client().set_tag(run.run_id, tag, "changed")
    with pytest.raises(ValueError, match=rf"{run.run_id} was retagged; set back in the MLflow UI {tag} to {value}, or"):
        stage("one", "holdout").run_once(False, lambda: pytest.fail("the stage ran again"))
    client().set_tag(run.run_id, tag, value)
    assert stage("one", "holdout").done(force=False) == run


def test_another_line_up_may_have_the_same_stage() -> None:
    finish(stage("one"))
    other = Parent(name="a", identity={**IDENTITY, "lineup": "other"}, tags={})
    assert stage("one", parent=other).done(force=False) is None


def test_a_failed_run_that_was_deleted_is_forgotten() -> None:
    with pytest.raises(ValueError, match="broken"), stage("one").open():
        raise ValueError("broken")
    for run in find_runs("toy", finished=False):
        client().delete_run(run.run_id)
    assert stage("one").done(force=False) is None


def test_a_stage_whose_member_was_deleted_says_how_to_bring_it_back(caplog: pytest.LogCaptureFixture) -> None:
    run = finish(stage("one"))
    assert run.parent is not None
    assert stage("one").done(force=False) == run
    assert caplog.messages == []
    client().delete_run(run.parent)
    assert stage("one").done(force=False) == run
    assert caplog.messages[0].endswith(f"mlflow runs restore --run-id {run.parent}`")


def test_a_model_that_a_killed_process_left_incomplete_has_failed() -> None:
    number = experiment_id("toy")
    dead = client().create_run(number, tags={**process_tags(), "pid": ""}, run_name="dead").info.run_id
    models = [client().create_logged_model(number, name=name, source_run_id=dead) for name in ("whole", "incomplete")]
    client().finalize_logged_model(models[0].model_id, "READY")
    reap()
    assert [str(client().get_logged_model(model.model_id).status) for model in models] == ["READY", "FAILED"]
