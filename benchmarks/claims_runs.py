"""The lists of a seed's members, variants and ensemble, and their MAP on the same bootstrap resamples."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import polars as pl

from scoring.fusion.fusion import MEMBER_K, By, merge_shifts
from scoring.lists.ranked import Submission
from scoring.lists.ranking import rank_scores
from scoring.measures.average_precision import ranks_of_blocks
from scoring.measures.bootstrap import Bootstrap, ResampledMap, mean_over
from scoring.tracked.ensemble_model import open_shifts
from scoring.tracked.stages import report_of
from scoring.weights.cross_validation import fit_weights, halvings, shrink
from scoring.weights.greedy import greedy_selection
from scoring.weights.objective import Objective
from scoring.weights.trials import map_of, weights_of_one
from tracking import metrics, runs
from training.job import Job
from training.line_up import usable
from training.member import Member
from training.members import SHIFTED, line_up, seed_name
from videos.judgments import Judgments
from videos.segments import segments_of, videos_of
from videos.store import FrameStore

WINDOWS = {"[-1,1]": (-1, 0, 1), "[-2,1]": (-2, -1, 0, 1), "[0,2]": (0, 1, 2), "[-2,2]": (-2, -1, 0, 1, 2)}
CLIP = "clip"  # every segment has the mean score of its clip
OWN = "own"  # the shifts merged that the member has in the ensemble; of a variant, all it was predicted under
ENSEMBLE = "ensemble"
SHRINK = 0.5  # of the ensemble's weights towards equal ones, after the search
SEARCHED, PUBLISHED = "weights as searched", "best of the paper's members"
CONTENDERS = (  # that the ensemble is compared with
    "best member",
    PUBLISHED,
    "equal weights",
    SEARCHED,
    "greedy selection",
    "the paper's 1/j with equal weights",
)
HALVINGS = 5
Fusion = tuple[Mapping[str, float] | None, float]  # weights (None: equal) and k


@dataclass(frozen=True)
class Search:
    """The best weights of a search and its k, and the highest MAP of its warm starts and of the proposals of Ax."""

    fusion: Fusion
    warm: float
    proposed: float | None  # if it is so short that Ax proposed nothing


@dataclass(frozen=True, eq=False)
class Seed:
    """The predictions of one seed on the holdout: per member (of the line-up, then variants) its lists by shift.

    `members` are those of the ensemble with their own shifts, `published` those that the paper has. `fusion` has the
    ensemble's weights and k, `search` what its search found. All MAPs are on the resamples of `bootstrap`.
    """

    shifts: Mapping[str, Mapping[int, Submission]]
    members: Mapping[str, tuple[int, ...]]
    published: Collection[str]
    fusion: Fusion
    search: Search
    commits: Collection[str]
    bootstrap: Bootstrap

    @property
    def shifted(self) -> list[str]:
        """The ensemble's members that were predicted under all shifts of `WINDOWS`."""
        wanted = {shift for window in WINDOWS.values() for shift in window}
        return [member for member in self.members if wanted <= self.shifts[member].keys()]

    @cache  # noqa: B019 - a few seeds live as long as the program
    def member(self, member: str, lists: int | str, by: By = "rank") -> ResampledMap:
        """MAP of a member under one shift, with the shifts of a window (`WINDOWS`) or its `OWN` merged, or of its
        `CLIP` scores."""
        return self._measure(self._submission(member, lists, by))

    def _submission(self, member: str, lists: int | str, by: By = "rank") -> Submission:
        predicted = self.shifts[member]
        if lists == CLIP:
            return clip_constant(predicted[0])
        if isinstance(lists, int):
            return predicted[lists]
        shifts = self.members.get(member, tuple(predicted)) if lists == OWN else WINDOWS[lists]
        return merge_shifts([predicted[shift] for shift in shifts], by)

    def _measure(self, submission: Submission) -> ResampledMap:
        return self.bootstrap.measure(*ranks_of_blocks([submission], self.bootstrap.judgments))

    @cached_property
    def objective(self) -> Objective:
        """Of the ensemble's members, their own shifts merged by rank."""
        merged = {member: self._submission(member, OWN) for member in self.members}
        return Objective.of(merged, self.bootstrap.judgments)

    @cache  # noqa: B019
    def contender(self, name: str, is_validated: bool) -> ResampledMap:
        """MAP of the "ensemble" or one of `CONTENDERS`, on the whole holdout or cross-validated.

        Cross-validated is the mean over held-out halves of the judged videos; there a coordinate ascent takes the place
        of the search.
        """
        if not is_validated:
            known = {ENSEMBLE: self.fusion, SEARCHED: self.search.fusion}
            return self._fused(known[name] if name in known else self._chosen(name, self.objective, 0))
        scores = []
        for number, (one, other) in enumerate(halvings(self.objective, HALVINGS, 0)):
            for fitted, held_out in ((one, other), (other, one)):
                weights, k = self._chosen(name, fitted, number)
                ranks = self.objective.fused_ranks(weights, k)
                present = self.bootstrap.judgments.classes
                scores.append(self.bootstrap.measure_on(np.unique(held_out.units), ranks, present))
        return mean_over(scores)

    def without(self, member: str) -> ResampledMap:
        """MAP of the ensemble's weights without a member, on the whole holdout."""
        weights, k = self.fusion
        assert weights is not None
        left = {**weights, member: 0.0}
        return self._fused((left if any(left.values()) else {**dict.fromkeys(weights, 1.0), member: 0.0}, k))

    def _chosen(self, name: str, objective: Objective, number: int) -> Fusion:
        """The weights and k that the ensemble or a contender chooses on the judged pairs of `objective`."""
        if name in (ENSEMBLE, SEARCHED):
            weights, k = fit_weights(objective, seed=number)
            return (shrink(weights, SHRINK) if name == ENSEMBLE else weights), k
        if name == "greedy selection":
            added = greedy_selection(objective, k=MEMBER_K)["member"].to_list()
            return {member: float(added.count(member)) for member in objective.members}, MEMBER_K
        if name in ("best member", PUBLISHED):
            among = self.published if name == PUBLISHED else objective.members
            singles = [weights_of_one(member, objective.members) for member in objective.members if member in among]
            return max(singles, key=lambda single: map_of(objective, single, MEMBER_K)), MEMBER_K
        return None, 0.0 if name.startswith("the paper's") else MEMBER_K

    def _fused(self, fusion: Fusion) -> ResampledMap:
        return self.bootstrap.measure(self.objective.fused_ranks(*fusion), self.bootstrap.judgments.classes)

    @cached_property
    def greedy(self) -> str:
        """The members in the order in which greedy selection first adds them, with the gain of each step."""
        steps = greedy_selection(self.objective, k=MEMBER_K).unique("member", keep="first", maintain_order=True)
        return ", ".join(f"{member} ({gain:+z.4f})" for member, gain in steps.select("member", "gain").rows())


def clip_constant(submission: Submission) -> Submission:
    """Predictions with each score replaced by the mean of its clip's in the class; clips keep their segments' order."""
    rows = submission.lists.explode("segments", "scores").with_columns(
        video_id=videos_of(submission.segments.to_frame("segment_id")).gather(
            submission.lists.explode("segments")["segments"]
        )
    )
    rows = rows.with_columns(pl.col("scores").mean().over("class_id", "video_id"))
    scores = np.zeros((len(submission.segments), len(submission.classes)), dtype=np.float32)
    columns = {class_id: column for column, class_id in enumerate(submission.classes)}
    scores[rows["segments"].to_numpy(), [columns[class_id] for class_id in rows["class_id"]]] = rows[
        "scores"
    ].to_numpy()
    return rank_scores(scores, submission.classes, submission.segments)


def open_seed(store: FrameStore, lineup: str, variants: str, seed: int) -> Seed:
    """The finished predictions of a seed; ValueError with the command that makes them if some are missing."""
    bootstrap = Bootstrap(Judgments(store.judged(segments_of(store.split("holdout"), store.dataset))))
    inferred: dict[str, runs.Record] = {}
    for name in (lineup, variants):
        seeded = seed_name(name, seed)
        for member in usable(line_up(seeded), store):
            inferred[member.name] = _infer_run(store, seeded, member)
    seeded = seed_name(lineup, seed)
    lined_up = usable(line_up(seeded), store)
    members = {member.name: member.shifts for member in lined_up}
    ids = {f"{runs.INFER_RUN}{member}": inferred[member].run_id for member in members}
    fuses = runs.find_runs(store.dataset.name, lineup=seeded, stage="fuse", split="holdout")
    of_these = (run for run in fuses if ids.items() <= run.params.items() and runs.ENSEMBLE not in run.tags)
    reported = next(((run, report) for run in of_these if (report := report_of(run)).shrink == SHRINK), None)
    if reported is None:
        raise ValueError(
            f"the line-up {seeded} has no ensemble of its members as configured; run it with --shrink {SHRINK}"
        )
    fused, report = reported
    shifts = {member: _lists(record) for member, record in inferred.items() if not member.endswith(SHIFTED)}
    for member, record in inferred.items():
        if member.endswith(SHIFTED):  # by the same weights as the member
            shifts[member.removesuffix(SHIFTED)] = _lists(record)
    return Seed(
        shifts=shifts,
        members=members,
        published=[member.name for member in lined_up if member.paper_name],
        fusion=(report.weights, report.k),
        search=_search(fused, list(members)),
        commits=sorted({_commit(record) for record in inferred.values()}),
        bootstrap=bootstrap,
    )


def _search(fused: runs.Record, members: Sequence[str]) -> Search:
    """The search that an ensemble has its weights from."""
    trials = runs.get_run(fused.params["optimize_run"]).table("trials.parquet")
    several = pl.col("source") != "member"  # of equal MAPs, the search takes weights of several members
    best = trials.sort("map", several, descending=True, maintain_order=True).row(0, named=True)
    warm, proposed = (trials.filter(source=source)["map"].to_list() for source in ("warm", "ax"))
    weights = {member: best[metrics.weight(member)] for member in members}
    return Search((weights, best[metrics.K]), max(warm), max(proposed, default=None))


def _commit(record: runs.Record) -> str:
    changed = record.tags.get(runs.DIRTY) == "true"
    return record.tags.get(runs.COMMIT, "unknown")[:7] + (" with local changes" if changed else "")


def _infer_run(store: FrameStore, lineup: str, member: Member) -> runs.Record:
    job = Job(lineup=lineup, member=member, store=store)
    record = job.stage("infer", job.finetuned().key, split="holdout").finished()
    if record is None:
        command = f"python -m training infer {member.name} --lineup {lineup} --data {store.folder}"
        raise ValueError(f"{member.name} of {lineup} has not predicted the holdout as configured; run `{command}`")
    return record


def _lists(record: runs.Record) -> dict[int, Submission]:
    return {shift: lists.read(lists.classes) for shift, lists in open_shifts(record).items()}
