import numpy as np
import pytest

from scoring.fusion.fusion import fuse
from scoring.measures.average_precision import mean_average_precision, ranks_of_blocks
from scoring.measures.bootstrap import Bootstrap
from scoring.weights.judged_pairs import judged_pairs
from scoring.weights.objective import Objective
from scoring.weights.what_if import WhatIf, class_changes
from tests.scoring.measures.test_bootstrap import random_world
from videos.judgments import Judgments

WEIGHTS = {"x": 0.9, "y": 0.1}


def test_figures_are_those_of_the_full_lists():
    submissions, pairs = random_world(np.random.default_rng(0))
    judgments = Judgments(pairs)
    fused, equal = fuse(submissions, WEIGHTS, 3.0), fuse(submissions, None, 5.0)
    ranks = ranks_of_blocks([fused], judgments)
    table = judged_pairs(Objective.of(submissions, judgments), ranks[0])
    what_if = WhatIf(table, judgments.unit)
    scored, base = what_if.score(WEIGHTS, 3.0), what_if.score(None, 5.0)
    assert scored.is_exact
    assert what_if.objective.map(WEIGHTS, 3.0) == scored.map == mean_average_precision(fused, pairs).map

    bootstrap = Bootstrap(judgments)
    expected = bootstrap.measure(*ranks)
    assert scored.resampled.interval == expected.interval
    assert scored.resampled.over(base.resampled) == expected.over(
        bootstrap.measure(*ranks_of_blocks([equal], judgments))
    )
    changes = class_changes(scored, base)
    assert changes["change"].is_sorted(descending=True)
    assert changes["change"].mean() == pytest.approx(scored.map - base.map)


def test_weights_that_are_all_zero_are_an_error():
    submissions, pairs = random_world(np.random.default_rng(0))
    judgments = Judgments(pairs)
    table = judged_pairs(Objective.of(submissions, judgments), ranks_of_blocks([], judgments)[0])
    with pytest.raises(ValueError, match="at least one must be positive"):
        WhatIf(table).score({"x": 0.0, "y": 0.0}, 3.0)
