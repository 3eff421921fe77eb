"""The consistency term of fine-tuning: its windows, its loss, and who refuses it."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from tests.training.conftest import briefly
from training import stages
from training.fit.options import TorchOptions
from training.fit.torch import TorchEstimator
from training.job import Job
from training.member import Member, Schedule
from training.members import BOOSTED, member_of
from training.models.loss import bernoulli_divergence, binary_cross_entropy
from training.windows.examples import EXAMPLES, Batch, SegmentExamples
from training.windows.sampler import PADDING, Sampler
from training.windows.unrated import Unrated
from videos.store import FrameStore

CPU = TorchOptions(device="cpu")
CONTEXT = Sampler("sequence", surroundings=2, video_frames=4)
DRAWN = Sampler("frames", 60, weighted=True)
WEIGHT, SIZE = 3.0, 64


def batch_of(
    store: FrameStore, sampler: Sampler, seed: int = 1, weight: float = WEIGHT, part: slice = slice(None)
) -> Batch:
    examples = SegmentExamples(store, sampler, "rated", varied=0.5, consistency=weight)
    return examples.batch(np.arange(SIZE) % len(examples), np.random.default_rng(seed), part)


def unrated_of(batch: Batch) -> Unrated:
    assert batch.unrated is not None
    return batch.unrated


def places(store: FrameStore) -> dict[bytes, tuple[int, int]]:
    """Of each frame of the store: its video, and its row there."""
    videos = store.videos.select("file", "first_frame", "frames").rows()
    return {
        store.frames(file)[first + row].tobytes(): (video, row)
        for video, (file, first, frames) in enumerate(videos)
        for row in range(frames)
    }


def rows_of(store: FrameStore, unrated: Unrated, known: dict[bytes, tuple[int, int]]) -> tuple[list[int], np.ndarray]:
    """The video of each pair of windows, and the rows (U, 2, T); PADDING without a frame."""
    values, padding = unrated.frames.values, unrated.frames.padding
    found = [[known[frame.tobytes()] for frame in window] for window in values]
    rows = np.array([[row for _, row in window] for window in found])
    rows = rows if padding is None else np.where(padding, PADDING, rows)
    videos = [{video for window in pair for video, _ in window} for pair in zip(found[::2], found[1::2], strict=True)]
    assert {len(own) for own in videos} == {1}
    return [own.pop() for own in videos], rows.reshape(-1, 2, rows.shape[1])


@pytest.mark.parametrize("edge", ["roll", "clamp"])
def test_pairs_are_windows_of_unrated_videos_at_random_places_and_their_shifts(tiny: FrameStore, edge: str) -> None:
    store, known = replace(tiny, dataset=replace(tiny.dataset, edge=edge)), places(tiny)
    shifts, splits, starts = set(), set(), set()
    for seed in range(12):
        unrated = unrated_of(batch_of(store, Sampler("sequence"), seed))
        videos, rows = rows_of(store, unrated, known)
        assert (len(videos), unrated.consistency, unrated.frame_weights) == (SIZE // EXAMPLES, WEIGHT, None)
        for video, (plain, shifted) in zip(videos, rows, strict=True):
            frames = store.videos["frames"][video]
            splits.add(store.videos["split"][video])
            starts.add(plain[0] / (frames - 5))
            assert plain.tolist() == list(range(plain[0], plain[0] + 5))
            expected = {}
            for shift in (-2, -1, 1, 2):
                moved = plain + shift
                outside = (moved < 0) | (moved >= frames)
                at_edge = np.clip(moved, 0, frames - 1) if edge == "clamp" else np.where(outside, PADDING, moved)
                expected[shift] = at_edge.tolist()
            shifts |= {shift for shift, moved in expected.items() if moved == shifted.tolist()}
            assert shifted.tolist() in expected.values()
    assert (shifts, splits) == ({-2, -1, 1, 2}, {"pretrain"})
    assert (min(starts), max(starts)) == (0, 1)
    assert len(starts) > 20


@pytest.mark.parametrize("sampler", [Sampler("sequence"), CONTEXT, DRAWN], ids=["sequence", "context", "drawn"])
def test_pairs_are_a_function_of_the_generator_and_rated_windows_are_as_without(
    tiny: FrameStore, sampler: Sampler
) -> None:
    batch, again, plain = (batch_of(tiny, sampler, weight=weight) for weight in (WEIGHT, WEIGHT, 0.0))
    assert plain.unrated is None
    assert np.array_equal(batch.features, plain.features)
    assert np.array_equal(batch.labels, plain.labels)
    whole = unrated_of(batch)
    assert np.array_equal(whole.frames.features(), unrated_of(again).frames.features())
    assert not np.array_equal(whole.frames.values, unrated_of(batch_of(tiny, sampler, seed=2)).frames.values)
    part = unrated_of(batch_of(tiny, sampler, part=slice(16, 48)))  # of one of several processes
    own = slice(8, 24)
    if sampler.weighted:  # the parts have as many distinct frames as their own windows need
        assert part.frame_weights is not None
        assert whole.frame_weights is not None
        assert (part.frame_weights.sum(1) == 60).all()
        sums = [
            (unrated.features() * weights[..., None]).sum(1)
            for unrated, weights in ((part.frames, part.frame_weights), (whole.frames, whole.frame_weights))
        ]
        np.testing.assert_allclose(sums[0], sums[1][own], rtol=1e-4, atol=1e-3)
    else:
        assert np.array_equal(part.frames.features(), whole.frames.features()[own])


def test_surroundings_move_with_the_window(tiny: FrameStore) -> None:
    store, known = replace(tiny, dataset=replace(tiny.dataset, edge="clamp")), places(tiny)
    videos, rows = rows_of(store, unrated_of(batch_of(store, Sampler("sequence", surroundings=2))), known)
    first = rows[:, 0, 2]  # after two surrounding frames
    inside = (first >= 4) & (first + 9 <= store.videos["frames"].to_numpy()[videos])  # shifted, with its surroundings
    assert inside.sum() > 3
    moved = rows[inside, 1] - rows[inside, 0]
    assert (moved == moved[:, :1]).all()
    assert set(np.abs(moved).ravel().tolist()) <= {1, 2}


def test_the_divergence_of_bernoulli_variables_by_hand() -> None:
    q, p = torch.tensor([[0.5, 0.9], [0.2, 0.7]]).double(), torch.tensor([[0.25, 0.9], [0.4, 0.1]]).double()
    first = 0.5 * np.log(0.5 / 0.25) + 0.5 * np.log(0.5 / 0.75)
    second = 0.2 * np.log(0.2 / 0.4) + 0.8 * np.log(0.8 / 0.6) + 0.7 * np.log(0.7 / 0.1) + 0.3 * np.log(0.3 / 0.9)
    assert bernoulli_divergence(q, p).item() == pytest.approx((first + second) / 2, abs=1e-3)
    assert bernoulli_divergence(q, q).item() == 0


def bert(dropout: float = 0.3, **finetune) -> Member:
    member = briefly(member_of("paper", "bert-l2h12-mean"))
    config = replace(member.config, dropout=dropout)  # pyright: ignore[reportCallIssue]
    return replace(member, config=config, finetune=replace(member.finetune, **finetune))


def test_a_step_by_hand(tiny: FrameStore) -> None:
    """The target has neither dropout nor a gradient, the shifted window both; unscored classes are left out."""
    member, batch = bert(), batch_of(tiny, Sampler("sequence"))
    estimator, other = (TorchEstimator(member, tiny.dataset, CPU) for _ in range(2))
    windows, scored = torch.from_numpy(unrated_of(batch).frames.features()), tiny.dataset.scored_classes
    assert len(scored) < tiny.dataset.classes
    other.module.eval()
    targets = other.module(windows[::2])[:, scored].detach()
    other.module.train()
    torch.manual_seed(0)  # of step 0
    assert batch.mask is not None
    labels, mask = torch.from_numpy(batch.labels), torch.from_numpy(batch.mask)
    loss = binary_cross_entropy(other.module(torch.from_numpy(batch.features)), labels, mask)
    p = other.module(windows[1::2])[:, scored]
    divergence = targets * (targets / p).log() + (1 - targets) * ((1 - targets) / (1 - p)).log()
    whole = loss + WEIGHT * divergence.sum() / len(p)
    assert divergence.sum().item() > 0.01 * len(p)
    assert float(estimator.train_step(batch, 1e-3)) == pytest.approx(whole.item(), rel=1e-5)
    whole.backward()
    moments = estimator.moments()
    decayed = {id(tensor): factor for tensor, factor in other.module.decays()}
    for name, parameter in other.module.named_parameters():
        assert parameter.grad is not None
        gradient = parameter.grad + decayed.get(id(parameter), 0) * parameter.detach()
        gradient = gradient / gradient.norm().clamp(min=1)
        np.testing.assert_allclose(moments[f"{name}/exp_avg"], 0.1 * gradient.numpy(), atol=1e-5, err_msg=name)


def test_members_that_cannot_learn_it_are_refused_before_training(tiny: FrameStore) -> None:
    def job(member: Member, weight: float = 1.0, store: FrameStore = tiny, **options) -> Job:
        member = replace(member, finetune=replace(member.finetune, consistency=weight))
        return Job(lineup="paper", member=member, store=store, options=TorchOptions(device="cpu", **options))

    job(bert()).check("finetune")
    job(bert(), accumulate=4).check("finetune")
    for member, title in ((member_of("paper", "gated-netvlad"), "Keras"), (BOOSTED, "LightGBM")):
        with pytest.raises(ValueError, match=f"{member.name}: {title} does not learn from unrated videos"):
            job(member).check("finetune")
        with pytest.raises(ValueError, match="leave consistency out of its schedule"):
            stages.finetune(job(member))
        if member is not BOOSTED:
            job(member, weight=0.0).check("finetune")
    with pytest.raises(ValueError, match="consistency needs parts of a multiple of 4 examples, and --accumulate 8"):
        job(bert(), accumulate=8).check("finetune")
    bases = replace(BOOSTED, config=replace(BOOSTED.config, bases=("bert-l2h8-mean-consistency",)))  # pyright: ignore
    with pytest.raises(ValueError, match="consistency needs parts of a multiple of 4 examples"):
        replace(job(bases, 0.0, accumulate=64), lineup="audioset-claims").check("finetune")
    rated = replace(tiny, videos=tiny.videos.filter(pl.col("split") != "pretrain"))
    job(bert(), 0.0, rated).check("finetune")
    with pytest.raises(ValueError, match="has no unrated video, which consistency needs; ingest shards"):
        job(bert(), store=rated).check("finetune")


def test_several_processes_need_windows_each(tiny: FrameStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "8")
    job = Job(lineup="paper", member=bert(consistency=1.0), store=tiny, options=CPU)
    with pytest.raises(ValueError, match="process's 2 into parts of 2; choose another batch, --accumulate or number"):
        job.check("finetune")


def test_it_is_for_fine_tuning_and_leaves_other_members_their_digests(tiny: FrameStore) -> None:
    plain = Schedule(2, 1)
    for option, pretrain in (("consistency", replace(plain, consistency=0.5)), ("varied", replace(plain, varied=0.5))):
        with pytest.raises(ValueError, match=f"has {option} in its pre-training; set {option} for its fine-tuning"):
            replace(bert(), pretrain=pretrain)
    with pytest.raises(ValueError, match="consistency is -1; give at least 0"):
        bert(consistency=-1)

    def digests(member: Member) -> list[str]:
        job = Job(lineup="paper", member=member, store=tiny, options=CPU)
        return [job.digest(stage) for stage in ("pretrain", "finetune")]

    plain, consistent = digests(bert()), digests(bert(consistency=0.5))
    assert digests(bert(consistency=0.0)) == plain
    assert (consistent[0] == plain[0], consistent[1] == plain[1]) == (True, False)


def test_the_stage_learns_from_unrated_videos(tiny: FrameStore, monkeypatch: pytest.MonkeyPatch) -> None:
    given = []

    def noted(job, stage, schedule, examples, start) -> None:
        given.append(examples.batch(np.arange(8), np.random.default_rng(0)).unrated)

    monkeypatch.setattr(stages, "_fit", noted)
    monkeypatch.setattr(stages, "_run_once", lambda job, stage, work: work())
    for weight in (0.0, 0.5):
        member = replace(bert(consistency=weight), pretrain=None)
        stages.finetune(Job(lineup="paper", member=member, store=tiny, options=CPU))
    assert given[0] is None
    assert given[1].consistency == 0.5
