import torch
from torch import nn

from training.models.layers.normalisation import BatchNorm, l2_normalise


def test_l2_normalise():
    x = torch.tensor([[3.0, 4.0], [0.0, 0.0]], requires_grad=True)
    torch.testing.assert_close(l2_normalise(x), torch.tensor([[0.6, 0.8], [0.0, 0.0]]))
    l2_normalise(x).sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()  # a row of zeros too


def test_weighted_batch_norm_is_that_of_the_repeated_rows():
    x, weights = torch.randn(2, 3, 4), torch.tensor([[1.0, 3.0, 0.0], [2.0, 0.0, 1.0]])
    ours, theirs = BatchNorm(4).train(), nn.BatchNorm1d(4, eps=1e-3, momentum=1e-3).train()
    times = weights.flatten().long()
    expected = theirs(x.flatten(0, 1).repeat_interleave(times, dim=0))
    torch.testing.assert_close(ours(x, weights).flatten(0, 1).repeat_interleave(times, dim=0), expected)
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict())
    torch.testing.assert_close(ours.eval()(x, weights), theirs.eval()(x.flatten(0, 1)).view_as(x))
