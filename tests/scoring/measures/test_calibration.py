"""How often equal systems are told apart, and different ones are not: simulated data sets with known systems."""

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
import pytest

from scoring.measures.average_precision import ranks_of_blocks
from scoring.measures.bootstrap import Bootstrap, Resampled, holm
from tests.scoring.generated import judgments_of, submission_of
from videos.judgments import Judgments, Unit

EQUAL = 1.5  # noise of a system that is as good as any other

pytestmark = pytest.mark.slow


def data_set(rng: np.random.Generator, unit: Unit, count: int, noises: Sequence[float], resamples: int = 1):
    """Systems measured on `count` videos (five classes, three alike segments a video) or `count` classes (of twenty
    documents each). A system orders what is judged by its true value plus noise of its own strength."""
    if unit == "video":
        ids = {c: [f"v{video}:{start}" for video in range(count) for start in range(3)] for c in range(5)}
    else:
        ids = {c: [f"d{document}" for document in range(20)] for c in range(count)}

    def values(size: int) -> np.ndarray:
        alone = rng.normal(size=size)
        return 0.7 * (alone + np.repeat(rng.normal(size=count), 3)) if unit == "video" else alone

    relevance, lists = {}, [{} for _ in noises]
    for c, names in ids.items():
        truth = values(len(names))
        relevance |= {(c, name): int(value) for name, value in zip(names, truth > np.quantile(truth, 0.7), strict=True)}
        for ranked, noise in zip(lists, noises, strict=True):
            ranked[c] = [names[i] for i in np.argsort(-truth - noise * values(len(names)))]
    bootstrap = Bootstrap(Judgments(judgments_of(relevance)), resamples=resamples)
    assert (bootstrap.judgments.unit, bootstrap.judgments.unit_count) == (unit, count)
    return [bootstrap.measure(*ranks_of_blocks([submission_of(ranked)], bootstrap.judgments)) for ranked in lists]


def data_sets(number: int, *args) -> Iterator[list[Resampled]]:
    rng = np.random.default_rng(0)
    return (data_set(rng, *args) for _ in range(number))


def is_best_told_apart(systems: Sequence[Resampled]) -> bool:
    """Whether the best differs from any other, as `compare` decides it."""
    ordered = sorted(systems, key=lambda system: -system.map)
    ps = holm([one.over(other).p for one, other in combinations(ordered, 2)])
    return any(p < 0.05 for p in ps[: len(ordered) - 1])


@pytest.mark.parametrize("unit", ["class", "video"])
@pytest.mark.parametrize(("systems", "count", "number"), [(2, 10, 400), (2, 20, 400), (2, 50, 300), (8, 10, 150)])
def test_equal_systems_are_rarely_told_apart(unit, systems, count, number):
    told_apart = [is_best_told_apart(measured) for measured in data_sets(number, unit, count, [EQUAL] * systems)]
    print(unit, systems, count, np.mean(told_apart))
    assert np.mean(told_apart) <= 0.07


@pytest.mark.parametrize("unit", ["class", "video"])
def test_a_real_difference_is_seen(unit):
    told_apart = [is_best_told_apart(measured) for measured in data_sets(100, unit, 20, [0.7, 2.5])]
    assert np.mean(told_apart) >= 0.9


@pytest.mark.parametrize(("count", "least"), [(10, 0.85), (20, 0.88), (50, 0.91)])
def test_intervals_of_map_cover_it(count, least):
    whole = data_set(np.random.default_rng(1), "class", 4000, [EQUAL])[0].map
    intervals = [system.interval for (system,) in data_sets(300, "class", count, [EQUAL], 300)]
    covered = np.mean([low <= whole <= high for low, high in intervals])
    print("coverage", count, covered)
    assert covered >= least
