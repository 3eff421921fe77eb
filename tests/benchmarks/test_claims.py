"""The page of the claims: what is compared, with which interval, and what is said of it."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from benchmarks import claims_runs
from benchmarks.claims import TARGET
from benchmarks.claims_page import FIGURES, SECTIONS, figures, page, summary
from benchmarks.claims_rows import BERT, LINEUP, VARIANT_LINEUP, VARIANTS, Results, Row, read
from benchmarks.claims_runs import CONTENDERS, OWN, SHRINK, WINDOWS, Search, Seed, clip_constant
from scoring.lists.ranked import Submission
from scoring.lists.ranking import rank_scores
from scoring.measures.average_precision import mean_average_precision
from scoring.measures.bootstrap import Bootstrap, ResampledMap
from scoring.weights.cross_validation import fit_weights, halvings, shrink
from scoring.weights.settings import SearchSettings
from tests.scoring.generated import judgments_of
from tests.training.conftest import briefly, write_tiny_store
from tracking import metrics, runs
from training import line_up, members, sweep
from training.fit.options import TorchOptions
from training.members import SHIFTED, member_of
from videos.judgments import Judgments
from videos.store import open_frames

SHIFTS = (-2, -1, 0, 1, 2)
IDS = [f"v{video:02}:{start}" for video in range(24) for start in (0, 2, 4)]
MEMBERS = ("bert-l2h8-concat", "bert-l2h8-first", BERT)
ROOT = Path(__file__).resolve().parents[2]


def predictions(rng: np.random.Generator, truth: np.ndarray, noise: float) -> Submission:
    scores = 1 / (1 + np.exp(-truth - noise * rng.normal(size=truth.shape)))
    return rank_scores(scores.astype(np.float32), [0, 1, 2], pl.Series(IDS))


def seeds_of(noise: Mapping[str, float], count: int = 2) -> list[Seed]:
    """Seeds in which a member's scores are the truth plus noise of its own strength."""
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(len(IDS), 3))
    judged = {(c, s): int(truth[row, c] > 0.7) for row, s in enumerate(IDS) for c in range(3)}
    bootstrap = Bootstrap(Judgments(judgments_of(judged)), resamples=100)
    return [
        Seed(
            {name: {shift: predictions(rng, truth, own) for shift in SHIFTS} for name, own in noise.items()},
            dict.fromkeys(MEMBERS, (-1, 0, 1)),
            MEMBERS[:2],
            (dict.fromkeys(MEMBERS, 1 / 3), 5.0),
            Search((dict(zip(MEMBERS, (0.2, 0.3, 0.5), strict=True)), 7.0), 0.6, 0.7),
            ["abc"],
            bootstrap,
        )
        for _ in range(count)
    ]


@pytest.fixture(scope="module")
def results() -> Results:
    names = {name for variant in VARIANTS for name in (variant.member, variant.against)}
    noise = dict.fromkeys([*MEMBERS, *sorted(names), f"{BERT}-wide"], 1.0) | {f"{BERT}-pretrained": 9.0}
    settings = sweep.settings(member_of(LINEUP, BERT).finetune)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(claims_runs, "HALVINGS", 1)
        compared = read(seeds_of(noise), "abc", "the command")
    return replace(compared, settings=[[name, "0.5", "80", "-1 to 1", "0.6"] for name in settings])


def test_every_variant_is_a_member_of_a_line_up() -> None:
    for variant in VARIANTS:
        assert variant.claim in SECTIONS
        for name in (variant.member, variant.against):
            lineup = LINEUP if name in {m.name for m in members.audioset()} else VARIANT_LINEUP
            assert member_of(lineup, name).seed == 0
    trained = {member.name for member in members.audioset_claims() if not member.finetuned_as}
    compared = {name for variant in VARIANTS for name in (variant.member, variant.against)}
    assert trained - compared == {f"{BERT}-wide"}  # compared with windows of shifts, which is no `Variant`


def test_a_row_s_interval_is_that_of_the_mean_over_seeds_and_its_verdict_follows() -> None:
    def maps(value: float, spread: tuple[float, ...]) -> ResampledMap:
        resamples = value + np.array(spread)
        return ResampledMap(value, resamples, resamples, 20)

    better = [maps(0.6, (-0.1, 0.1)), maps(0.62, (-0.1, 0.1))]
    worse = [maps(0.5, (-0.1, 0.1)), maps(0.5, (-0.1, 0.1))]
    row = Row("a", better, worse)
    assert row.differences == pytest.approx([0.1, 0.12])
    assert row.interval == pytest.approx((0.11, 0.11))  # paired: the resamples move both sides alike
    assert row.verdict == "holds"
    assert row.cells() == ["a", "0.6100", "0.5000", "+0.1100", "0.0141", "+0.1100 to +0.1100", "holds", "-"]
    assert Row("a", worse, better).verdict == "does not hold"
    opposed = [maps(0.5, (0.2, -0.2)), maps(0.5, (0.2, -0.2))]
    assert Row("a", better, opposed).verdict == "not told apart"


def test_the_page_has_what_was_found_first_and_every_table(results: Results) -> None:
    lines = page(results)
    assert lines[2:5] == summary(results)
    assert [line.split(":")[0] for line in lines[2:5]] == ["Confirmed", "Contradicted", "Not told apart"]
    check_page("\n".join(lines), seeds=2)
    (row,) = [line for line in lines if "over pre-trained alone" in line]
    assert "| holds | +0.0394 (0.7157 to 0.7551) |" in row


def check_page(text: str, seeds: int) -> None:
    """What the page must have, and that each verdict follows from the numbers next to it."""
    for claim in SECTIONS:
        assert f"Claim: {SECTIONS[claim][1]}" in text
        assert f"What differs: {SECTIONS[claim][2]}" in text
    assert text.count(f"seeds 0 to {seeds - 1}, commit ") >= len(SECTIONS)
    for percent in (10, 25, 50, 100):
        assert f"from scratch, on {percent} % of the rated clips" in text
    for window in WINDOWS:
        assert f"{BERT} {window}, by rank, over no shift" in text
    assert f"{BERT} [-2,2], averaged, over by rank" in text
    assert "the clip's mean score" in text
    for name in CONTENDERS:
        for where in ("in sample", "cross-validated"):
            assert f"{where}: ensemble, over {name}" in text
        assert name == "weights as searched" or f"in sample: weights as searched, over {name}" in text
    assert re.search(r"^The members are of commit \S+", text, re.M)
    assert len(re.findall(r"^Seed \d: 0\.\d{4}, Ax 0\.\d{4}\.$", text, re.M)) == seeds
    assert re.search(r"^\| ensemble, cross-validated \| 0\.\d{4} \| 0\.\d{4} \| 0\.\d{4} to 0\.\d{4} \|$", text, re.M)
    assert all(f"| {name} |" in text for name in sweep.settings(member_of(LINEUP, BERT).finetune))
    rows = [line for line in text.splitlines() if re.search(r"\| (holds|does not hold|not told apart) \|", line)]
    assert len(rows) >= 25
    for line in rows:
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        low, high = map(float, cells[5].split(" to "))
        assert low <= float(cells[3]) <= high
        expected = "holds" if low > 0 else "does not hold" if high < 0 else "not told apart"
        assert cells[6] == expected or 0 in (low, high)  # printed to four digits
    counts = re.findall(r"\((\d+) of (\d+)\)", "\n".join(text.splitlines()[2:5]))
    assert sum(int(count) for count, _ in counts) == len(rows)


@pytest.mark.skipif(not (ROOT / TARGET).exists(), reason="docs/results.md is written once the runs have finished")
def test_the_committed_page_is_complete_and_its_verdicts_follow_its_numbers() -> None:
    text = (ROOT / TARGET).read_text()
    check_page(text, seeds=int(re.findall(r"--seeds (\d+)", text)[0]))
    pictures = re.findall(r"\]\((figures/[^)]+)\)", text)
    assert len(pictures) == 3
    assert [picture for picture in pictures if not (ROOT / "docs" / picture).exists()] == []


def test_the_figures_are_drawn(results: Results, tmp_path: Path) -> None:
    names = [
        *MEMBERS,
        *(f"{BERT}-{kind}{p}" for kind in ("share", "scratch") for p in (10, 25, 50)),
        f"{BERT}-scratch100",
    ]
    figures(seeds_of(dict.fromkeys([*names, f"{BERT}-pretrained"], 1.0)), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(name for name, _ in FIGURES.values())


def test_cross_validated_contenders_have_the_map_of_the_held_out_halves() -> None:
    seed = seeds_of(dict.fromkeys(MEMBERS, 1.0), 1)[0]
    equal, shrunk = [], []
    for number, pair in enumerate(halvings(seed.objective, claims_runs.HALVINGS, 0)):
        for fitted, held_out in (pair, reversed(pair)):
            weights, k = fit_weights(fitted, seed=number)
            equal.append(held_out.map(None, 0.0))
            shrunk.append(held_out.map(shrink(weights, SHRINK), k))
    assert seed.contender(CONTENDERS[-1], True).map == pytest.approx(np.mean(equal), abs=1e-12)
    assert seed.contender("ensemble", True).map == pytest.approx(np.mean(shrunk), abs=1e-12)
    assert seed.contender("weights as searched", True).map != seed.contender("ensemble", True).map
    assert seed.contender("equal weights", False).map == pytest.approx(seed.objective.map(None, claims_runs.MEMBER_K))
    weights, k = seed.search.fusion
    assert seed.contender("weights as searched", False).map == pytest.approx(seed.objective.map(weights, k))
    for name, members_of in (("best member", MEMBERS), ("best of the paper's members", seed.published)):
        best = max(seed.member(member, OWN).map for member in members_of)
        assert seed.contender(name, False).map == pytest.approx(best)


def test_a_clip_constant_submission_scores_every_segment_of_a_clip_alike() -> None:
    scores = np.arange(len(IDS) * 3, dtype=np.float32).reshape(len(IDS), 3) / 300
    constant = clip_constant(rank_scores(scores, [0, 1, 2], pl.Series(IDS)))
    for class_id, codes, own in constant.lists.rows():
        expected = scores[:, class_id].reshape(-1, 3).mean(1)
        assert np.array(own) == pytest.approx(np.repeat(expected[::-1], 3))
        assert [IDS[code] for code in codes[:3]] == IDS[-3:]


@pytest.mark.slow
@pytest.mark.usefixtures("store")
def test_a_seed_is_read_from_its_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tiny_store(tmp_path / "tiny")
    tiny = open_frames(tmp_path / "tiny")
    base = replace(briefly(member_of("paper", "bert-l2h12-mean")), shifts=(-1, 0))
    variant = replace(base, name="variant", shifts=(0,), pretrain=None, pretrained_as=f"one/{base.name}")
    shifted = replace(base, name=f"{base.name}{SHIFTED}", shifts=SHIFTS, pretrain=None, finetuned_as=f"one/{base.name}")
    other = replace(briefly(member_of("paper", "bert-l2h12-first")), shifts=(0,), paper_name="")
    monkeypatch.setitem(members.LINE_UPS, "one", lambda: (base, other))
    monkeypatch.setitem(members.LINE_UPS, "variants", lambda: (variant, shifted))
    with pytest.raises(ValueError, match=f"run `python -m training pretrain {base.name} --lineup one"):
        claims_runs.open_seed(tiny, "one", "variants", 0)
    for shrunk in (0.0, SHRINK):
        settings = SearchSettings(trials=6, shrink=shrunk)
        line_up.run("one", tiny.folder, search=settings, force=False, options=TorchOptions())
        line_up.train("variants", tiny.folder, splits=["holdout"], force=False, options=TorchOptions())
        if not shrunk:
            with pytest.raises(ValueError, match="run it with --shrink"):
                claims_runs.open_seed(tiny, "one", "variants", 0)
    seed = claims_runs.open_seed(tiny, "one", "variants", 0)
    assert (seed.members, seed.shifted) == ({base.name: (-1, 0), other.name: (0,)}, [base.name])
    assert (seed.published, seed.search.proposed) == ([base.name], None)
    shifts = {base.name: sorted(SHIFTS), other.name: [0], "variant": [0]}
    assert {name: sorted(own) for name, own in seed.shifts.items()} == shifts
    merged = mean_average_precision(seed._submission(base.name, OWN), seed.bootstrap.judgments.pairs)
    assert seed.member(base.name, OWN).map == merged.map
    measured = runs.find_run("tiny", stage="fuse", split="holdout").metrics[metrics.map_of(metrics.ENSEMBLE)]
    assert seed.contender("ensemble", False).map == pytest.approx(measured)
    weights, k = seed.search.fusion
    assert weights is not None
    assert seed.fusion == (pytest.approx(shrink(weights, SHRINK)), k)
    assert seed.contender("weights as searched", False).map >= seed.search.warm
    own = claims_runs.merge_shifts([seed.shifts[base.name][shift] for shift in (-1, 0)])
    assert seed._submission(base.name, OWN).lists.equals(own.lists)
    by_run = runs.find_run("tiny", member=base.name, stage="infer", split="holdout")
    for shift in (-1, 0):  # the same weights, so the same scores
        assert seed.shifts[base.name][shift].lists.equals(claims_runs._lists(by_run)[shift].lists)
