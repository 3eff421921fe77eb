"""Settings of fine-tuning compared on folds of the rated videos."""

import re
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from tests.training.conftest import briefly
from tracking import metrics, runs
from training import stages, sweep
from training.job import Job
from training.members import BOOSTED, FRAME_MEAN
from training.models.frame_mean import FrameMeanConfig
from videos.segments import segments_of
from videos.splits import fold_of
from videos.store import FrameStore

MEMBER = replace(briefly(FRAME_MEAN), config=FrameMeanConfig(hidden=(8,), batch_norm_decay=0.9), shifts=(-1, 0, 2))
FOLDS = 2


@pytest.fixture
def job(tiny: FrameStore, store: str) -> Job:
    own = Job(lineup="own", member=MEMBER, store=tiny)
    stages.pretrain(own)
    return own


def test_one_setting_differs_from_the_member_s_in_one_field() -> None:
    own = MEMBER.finetune
    swept = sweep.settings(own)
    assert next(iter(swept.values())) == own
    changed = [[field for field in vars(own) if vars(own)[field] != vars(one)[field]] for one in swept.values()]
    assert [len(fields) for fields in changed] == [0] + [1] * (len(swept) - 1)
    assert {fields[0] for fields in changed[1:]} == {"learning_rate", "label_mask", "varied", "average"}
    assert len(set(swept.values())) == len(swept)


def test_a_video_is_scored_by_models_that_have_not_seen_its_ratings(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[set[str], set[str]]] = []
    plain = sweep._fold_scores

    def noting(job: Job, start: runs.Record, segments: pl.DataFrame, videos: list[str]) -> dict[int, np.ndarray]:
        given.append((set(segments["video_id"]), set(videos)))
        return plain(job, start, segments, videos)

    monkeypatch.setattr(sweep, "_fold_scores", noting)
    sweep.sweep(job, FOLDS)
    segments = segments_of(job.store.split("finetune"), job.store.dataset)
    rated = set(segments.join(job.store.judged(segments), on="segment_id", how="semi")["video_id"])
    assert len(given) == FOLDS * len(sweep.settings(MEMBER.finetune))
    for left_out, learned in given:
        assert left_out
        assert not left_out & learned
        assert len({fold_of(video, FOLDS) for video in left_out}) == 1
    assert set.union(*(left_out for left_out, _ in given)) == rated


def test_each_setting_is_a_run_and_is_not_repeated(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    swept = dict(sweep.sweep(job, FOLDS))
    record = swept[sweep.OWN]
    assert (record.tags[runs.STAGE], record.params["setting"]) == ("sweep", sweep.OWN)
    curve = runs.metric_history(record.run_id, metrics.MAP)
    assert curve["step"].to_list() == [0, 3, 6]
    best = curve.row(by_predicate=pl.col("value") == curve["value"].max(), named=True)
    assert record.metrics[metrics.map_of(metrics.SWEPT)] == best["value"]
    assert record.metrics[metrics.CHOSEN_STEP] == best["step"]
    ranges = {name for name in record.metrics if name.startswith("shifts ")}
    assert ranges == {f"shifts {low} to {high}/map" for low in (-2, -1, 0) for high in (0, 1, 2) if low < high}
    assert {f"prior {exponent}/map" for exponent in sweep.PRIORS} <= record.metrics.keys()
    capsys.readouterr()
    sweep.print_sweep(job, FOLDS)
    lines = capsys.readouterr().out.splitlines()
    assert [re.split("  +", line.strip())[0] for line in lines[-len(swept) :]] == list(swept)
    assert {one.run_id for _, one in sweep.sweep(job, FOLDS)} == {one.run_id for one in swept.values()}
    assert sweep.sweep(job, FOLDS + 1)[0][1].run_id not in {one.run_id for one in swept.values()}


def test_more_folds_than_videos_fill_are_refused(job: Job) -> None:
    with pytest.raises(ValueError, match=r"500 folds of \d+ videos leave one empty; give fewer folds"):
        sweep.sweep(job, 500)


def test_what_cannot_be_swept_is_refused(tiny: FrameStore) -> None:
    with pytest.raises(ValueError, match="1 folds leave nothing to train on; give at least 2"):
        sweep.sweep(Job(lineup="own", member=MEMBER, store=tiny), 1)
    boosted = replace(BOOSTED, config=replace(BOOSTED.config, bases=(MEMBER.name,)))
    shifted = replace(MEMBER, pretrain=None, finetuned_as="other/member")
    for member in (boosted, shifted):
        with pytest.raises(ValueError, match=f"{member.name} is not fine-tuned by steps"):
            sweep.sweep(Job(lineup="own", member=member, store=tiny), FOLDS)
