import numpy as np
import pytest

from scoring.weights import tables
from scoring.weights.tables import tables_of


@pytest.mark.parametrize("width", range(1, tables.NETWORK + 1))
def test_the_network_sorts(width):
    """A network that sorts zeros and ones sorts everything (Knuth, 5.3.4)."""
    rng = np.random.default_rng(width)
    every = (np.arange(2 ** min(width, 12)) >> np.arange(width)[:, None]) & 1
    drawn = rng.random((width, 4096)) < rng.random(4096)
    for keys in (every.astype(np.int32), drawn.astype(np.int32), rng.integers(0, 5, (width, 999), dtype=np.int32)):
        expected = -np.sort(-keys, axis=0)
        assert np.array_equal(np.stack(tables._falling(keys.copy())), expected)


def one_table(ranks: np.ndarray, positive: np.ndarray, reach: float = np.inf) -> tables.Table:
    """A table of classes of as many pairs each: `ranks` (members, classes, width), `positive` (classes, width)."""
    members, classes, width = ranks.shape
    rows = np.repeat(np.arange(classes), width)
    flat = ranks.reshape(members, -1).astype(float)
    (table,) = tables_of(rows, flat, positive.ravel(), np.full(classes, reach))
    return table


def exact(table: tables.Table, votes: np.ndarray, ks: np.ndarray) -> np.ndarray:
    vectors, rows = np.divmod(np.arange(len(ks) * len(table.rows)), len(table.rows))
    scores = table.exact_scores(rows, votes[vectors], ks[vectors])
    return table.exact_sums(rows, scores).reshape(len(ks), -1)


@pytest.mark.parametrize("width", [7, 19, 50])
@pytest.mark.parametrize("vectors", [1, 64])
def test_what_is_not_in_doubt_is_exact_and_little_is_in_doubt(width, vectors):
    rng = np.random.default_rng(width)
    classes = 300
    ranks = rng.integers(1, 100_000, (9, classes, width)).astype(float)
    ranks[rng.random(ranks.shape) < 0.1] = np.inf
    table = one_table(ranks, rng.random((classes, width)) < 0.5)
    votes = rng.dirichlet(np.ones(9), vectors)
    ks = np.exp(rng.uniform(np.log(0.1), np.log(1000), vectors))
    sums, doubt = table.precision_sums(votes, ks)
    assert np.array_equal(sums[~doubt], exact(table, votes, ks)[~doubt])
    assert doubt.mean() < 0.2 * width / 50


def test_scores_that_rounding_could_turn_round_are_in_doubt():
    """Two pairs whose scores differ in the ninth place, and two that are equal, one positive and one not."""
    ranks = np.array([[[10.0, 50.0, 99_999.0], [10.0, 50.0, 50.0]], [[50.0, 10.0, 7.0], [50.0, 10.0, 10.0]]])
    positive = np.array([[True, False, False], [False, False, True]])
    table = one_table(ranks, positive)
    votes = np.array([[0.5, 0.5], [0.5 + 1e-9, 0.5 - 1e-9], [0.6, 0.4]])
    _, doubt = table.precision_sums(votes, np.full(3, 5.0))
    # The third pair of the second class is level with the second, whatever the votes.
    assert doubt.tolist() == [[True, True], [True, True], [False, True]]


def test_a_positive_that_may_be_beyond_the_cut_is_in_doubt():
    ranks = np.full((2, 1, 2), 30.0)
    ranks[:, :, 1] = 5.0
    for positive, reach, expected in (
        ([True, False], 30.0, True),
        ([True, False], 31.0, False),
        ([False, True], 30.0, False),
    ):
        table = one_table(ranks, np.array([positive]), reach)
        assert table.precision_sums(np.array([[0.5, 0.5]]), np.array([5.0]))[1].tolist() == [[expected]]


def test_votes_and_k_that_single_precision_cannot_hold_are_in_doubt():
    rng = np.random.default_rng(0)
    table = one_table(rng.permuted(np.tile(np.arange(1.0, 8), (3, 5, 1)), axis=2), rng.random((5, 7)) < 0.5)
    votes = np.array([[0.3, 0.3, 0.4], [1 - 1e-30, 1e-30, 0.0], [0.3, 0.3, 0.4], [0.3, 0.3, 0.4], [1.0, 0.0, 0.0]])
    _, doubt = table.precision_sums(votes, np.array([5.0, 5.0, -0.5, 1e30, 5.0]))
    assert doubt[1:].all()
    assert not doubt[0].all()
