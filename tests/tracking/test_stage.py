import pytest

from tracking.runs import Record, get_run
from tracking.stage import Parent, Stage, digest
from tracking.store import client

IDENTITY = {"dataset": "toy", "lineup": "demo", "kind": "member", "member": "a"}
PARENT = Parent(name="a", identity=IDENTITY, tags={"framework": "torch"}, note="A member.")


def stage(content: str, split: str = "", parent: Parent = PARENT) -> Stage:
    return Stage(experiment="toy", parent=parent, stage="infer", digest=content, data_digest="d" * 32, split=split)


def finish(todo: Stage) -> Record:
    with todo.open() as opened:
        opened.run.metrics({"seconds": 1.0})
        opened.headline({"map": 0.5})
    return get_run(opened.run.run_id)


def test_a_digest_is_of_values_alone() -> None:
    assert digest("a", {"x": 1, "y": (2, 3)}) == digest("a", {"y": [2, 3], "x": 1})
    assert digest("a", 1) != digest("a", 2)
    assert len(digest()) == 16


@pytest.mark.usefixtures("store")
def test_a_finished_stage_is_found_by_digest_split_and_parent() -> None:
    run = finish(stage("one", "holdout"))
    assert (run.name, run.status, run.metrics) == ("infer holdout", "FINISHED", {"seconds": 1.0, "map": 0.5})
    expected = {"dataset": "toy", "lineup": "demo", "member": "a", "framework": "torch", "stage": "infer"}
    assert {key: run.tags.get(key) for key in expected} == expected
    record = stage("one", "holdout").finished()
    assert record is not None
    assert record.run_id == run.run_id
    other = Parent(name="b", identity={**IDENTITY, "member": "b"}, tags={})
    assert [stage("two", "holdout").finished(), stage("one", "test").finished()] == [None, None]
    assert stage("one", "holdout", other).finished() is None


@pytest.mark.usefixtures("store")
def test_what_a_process_left_that_was_killed_after_the_end_of_a_stage_is_removed() -> None:
    finish(stage("one"))
    left = stage("one").kept / "step-3"
    left.mkdir(parents=True)
    with stage("one")._lock(wait=True):  # somebody repeats the stage, and resumes from it
        stage("one").run_once(False, lambda: pytest.fail("the stage ran again"))
        assert left.exists()
    stage("one").run_once(False, lambda: pytest.fail("the stage ran again"))
    assert not stage("one").kept.exists()


@pytest.mark.usefixtures("store")
def test_the_parent_shows_the_headline_alone() -> None:
    run = finish(stage("one"))
    assert run.parent is not None
    parent = get_run(run.parent)
    assert (parent.metrics, parent.tags["kind"], parent.name) == ({"map": 0.5}, "member", "a")


@pytest.mark.usefixtures("store")
def test_force_finds_nothing_and_a_failed_stage_is_not_done(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ValueError, match="broken"), stage("one").open():
        raise ValueError("broken")
    assert stage("one").done(force=False) is None
    run = finish(stage("one"))
    assert stage("one").done(force=True) is None
    with caplog.at_level("INFO"):
        record = stage("one").done(force=False)
    assert record is not None
    assert record.run_id == run.run_id
    assert caplog.messages[0].startswith(
        f"a infer: done already (run {run.run_id[:8]}, commit {run.tags['commit'][:8]}"
    )


@pytest.mark.usefixtures("store")
def test_a_stage_that_is_done_names_its_commit_and_what_has_changed_since(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = finish(stage("one"))
    client().set_tag(run.run_id, "commit", "0123456789")
    client().set_tag(run.run_id, "dirty", "true")
    for changed, text in (
        (["training/fit/loop.py"], "; changed since: training/fit/loop.py; --force repeats it)"),
        ([], ")"),
        (None, ", which this checkout does not have)"),
    ):
        caplog.clear()
        monkeypatch.setattr("tracking.stage.changed_since", lambda _, changed=changed: changed)
        with caplog.at_level("INFO"):
            stage("one").done(force=False)
        made = f"a infer: done already (run {run.run_id[:8]}, commit 01234567 with changes, see its code.diff"
        assert caplog.messages == [made + text]
