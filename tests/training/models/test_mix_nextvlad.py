"""MixNeXtVLAD against a plain NumPy reading of its equations, and its distillation by hand."""

from math import exp, log, sqrt

import numpy as np
import pytest
import torch

from training.models.loss import binary_cross_entropy
from training.models.mix_nextvlad import MixNeXtVlad, MixNeXtVladConfig, divergence

WIDTHS = {"rgb": 16, "audio": 8}
CLASSES, WINDOW = 7, 6
SMALL = {"clusters": 6, "groups": 4, "hidden": 32, "gating_reduction": 8}
WEIGHTS = torch.tensor([[1.0, 2, 1, 2], [6, 0, 0, 0], [0, 1, 5, 0]])  # six draws from four frames


def mix(widths: dict[str, int] = WIDTHS, **settings) -> MixNeXtVlad:
    """A small model, every weight (BatchNorm's averages too) moved off its initial value."""
    torch.manual_seed(0)
    model = MixNeXtVladConfig(**SMALL, **settings).build(widths, CLASSES, WINDOW).eval()
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.is_floating_point():
            tensor.data += 0.5 * torch.rand_like(tensor)  # variances stay positive
    return model


def repeated(features: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Each frame as often as it is drawn."""
    pairs = zip(features, weights, strict=True)
    return torch.stack([window.repeat_interleave(times.long(), dim=0) for window, times in pairs])


def in_numpy(model: MixNeXtVlad, features: torch.Tensor) -> np.ndarray:
    """Section by section what the published code computes, frame by frame, group by group."""
    state = {name: tensor.double().numpy() for name, tensor in model.state_dict().items()}

    def linear(name, x):
        return x @ state[f"{name}.weight"].T + state.get(f"{name}.bias", 0)

    def norm(name, x):
        mean, variance = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        return (x - mean) / np.sqrt(variance + 1e-3) * state[f"{name}.weight"] + state[f"{name}.bias"]

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    def softmax(x):
        return np.exp(x) / np.exp(x).sum()

    def descriptor(name, frames, groups, clusters):
        anchors = state[f"{name}.anchors"]
        vlad = np.zeros_like(anchors)
        for frame in frames:
            wide = linear(f"{name}.expand", frame)
            attention = sigmoid(linear(f"{name}.attention", wide))
            logits = norm(f"{name}.assign_norm", linear(f"{name}.assign", wide)).reshape(groups, clusters)
            for g, part in enumerate(wide.reshape(groups, -1)):
                for k, share in enumerate(softmax(logits[g])):
                    vlad[k] += attention[g] * share * (part - anchors[k])
        vlad /= np.linalg.norm(vlad, axis=1, keepdims=True)
        return norm(f"{name}.norm", vlad.ravel())

    def branch(name, frames):
        parts = [
            descriptor(f"{name}.modalities.0", frames[:, :16], groups=4, clusters=6),
            descriptor(f"{name}.modalities.1", frames[:, 16:], groups=2, clusters=3),
        ]
        hidden = norm(f"{name}.hidden_norm", linear(f"{name}.hidden", np.concatenate(parts)))
        squeezed = np.maximum(norm(f"{name}.squeeze_norm", linear(f"{name}.squeeze", hidden)), 0)
        return linear(f"{name}.head.linear", hidden * sigmoid(linear(f"{name}.excite", squeezed)))

    rows = []
    for window in features.double().numpy():
        frames = window / np.linalg.norm(window, axis=1, keepdims=True)
        gate_input = frames.mean(axis=0 if model.config.gate == "mean_frame" else 1)
        shares = softmax(linear("gate", norm("gate_norm", gate_input)))
        rows.append(sigmoid(sum(share * branch(f"branches.{m}", frames) for m, share in enumerate(shares))))
    return np.stack(rows)


@pytest.mark.parametrize("gate", ["mean_frame", "frame_means"])
def test_agrees_with_numpy(gate):
    model, features = mix(gate=gate), torch.randn(3, WINDOW, 24)
    np.testing.assert_allclose(model(features).detach(), in_numpy(model, features), atol=1e-5, rtol=0)


@pytest.mark.parametrize("gate", ["mean_frame", "frame_means"])
def test_weight_is_repetition(gate):
    model, features = mix(gate=gate), torch.randn(3, 4, 24)
    torch.testing.assert_close(model(features, WEIGHTS), model(repeated(features, WEIGHTS)), atol=1e-6, rtol=0)


def test_weight_is_repetition_in_training_too():
    """Loss, gradients and running averages: batch statistics count a frame as often as it is drawn."""
    features, labels = torch.randn(3, 4, 24), torch.rand(3, CLASSES).round()
    weighted, plain = mix(dropout=0.0).train(), mix(dropout=0.0).train()
    first = weighted.loss(features, WEIGHTS, labels)
    second = plain.loss(repeated(features, WEIGHTS), None, labels)
    torch.testing.assert_close(first, second, atol=1e-4, rtol=1e-5)
    first.backward()
    second.backward()
    for (name, one), other in zip(weighted.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, atol=1e-4, rtol=1e-3, msg=name)
    for (name, one), other in zip(weighted.named_buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5, msg=name)


def test_order_of_frames_is_noise_to_the_published_codes_gate_alone():
    features = torch.randn(3, WINDOW, 24)
    turned = features.flip(1)
    torch.testing.assert_close(mix()(features), mix()(turned), atol=1e-6, rtol=0)
    model = mix(gate="frame_means")
    assert (model(features) - model(turned)).abs().max() > 1e-4


def test_padding_and_absent_frames_are_finite():
    features, weights = torch.randn(2, 4, 24), torch.tensor([[3.0, 3, 0, 0], [0, 0, 0, 0]])
    features[0, 2:] = 0
    assert mix()(features, weights).isfinite().all()
    assert mix(gate="frame_means")(features, weights).isfinite().all()


def test_gate_on_frame_means_needs_its_number_of_frames():
    with pytest.raises(ValueError, match="built for 6 frames and met 4"):
        mix(gate="frame_means")(torch.randn(2, 4, 24))


def test_divergence_by_hand():
    """Two classes, two branches, temperature 2."""
    mixed = torch.tensor([[2.0, 0.0]])
    branches = torch.tensor([[[0.0, 0.0], [2.0, 4.0]]])
    teacher = [exp(1) / (exp(1) + 1), 1 / (exp(1) + 1)]
    students = [[0.5, 0.5], [exp(1) / (exp(1) + exp(2)), exp(2) / (exp(1) + exp(2))]]
    expected = sum(t * log(t / s) for student in students for t, s in zip(teacher, student, strict=True))
    assert divergence(mixed, branches, temperature=2).item() == pytest.approx(expected, rel=1e-5)


def test_mixture_and_branches_teach_each_other():
    """Gradient of sum_c q_c log(q_c / p_c): p - q for the student, q (log(q / p) - KL) for the teacher."""
    mixed = torch.tensor([[1.0, 0.0, -1.0]], requires_grad=True)
    branches = torch.tensor([[[0.0, 0.5, 0.0]]], requires_grad=True)
    divergence(mixed, branches, temperature=1).backward()
    q, p = mixed.detach().softmax(-1), branches.detach().softmax(-1)[:, 0]
    kl = (q * (q / p).log()).sum()
    assert branches.grad is not None
    torch.testing.assert_close(branches.grad[:, 0], p - q, atol=1e-6, rtol=0)
    torch.testing.assert_close(mixed.grad, q * ((q / p).log() - kl), atol=1e-6, rtol=0)


@pytest.mark.parametrize("branch_loss", [True, False])
def test_loss_is_the_sum_of_its_parts(branch_loss):
    model, features = mix(branch_loss=branch_loss), torch.randn(3, WINDOW, 24)
    labels, mask = torch.rand(3, CLASSES).round(), torch.rand(3, CLASSES)
    mixed, branches = model.logits(model.encode_frames(features), None)
    expected = binary_cross_entropy(mixed.sigmoid(), labels, mask)
    for m in range(3):
        expected += branch_loss * binary_cross_entropy(branches[:, m].sigmoid(), labels, mask)
    expected += 9 * divergence(mixed, branches, temperature=3)
    torch.testing.assert_close(model.loss(features, None, labels, mask), expected)


@pytest.mark.parametrize(("settings", "l2"), [({}, 1e-8), ({"logistic_l2": 1e-5}, 1e-5)])
def test_l2_is_of_the_logistic_heads_alone(settings, l2):
    """Weights and biases of the three, by the published code's factor unless another is asked for."""
    model = mix(**settings)
    heads = [branch.head.linear for branch in model.branches]
    decays = {id(parameter): factor for parameter, factor in model.decays()}
    assert decays == {id(parameter): l2 for head in heads for parameter in (head.weight, head.bias)}


def test_each_branch_drops_out_of_its_descriptors_in_training_alone():
    """With all of them dropped nothing of the frames is left: the scores of any frames are the same."""
    model, descriptors = mix(dropout=1.0), 6 * 32 // 4 + 3 * 16 // 2
    one, other = torch.randn(2, 3, WINDOW, 24).unbind(0)
    assert not torch.allclose(model(one), model(other), atol=1e-4)
    seen = []
    for branch in model.branches:
        branch.dropout.train()
        branch.hidden.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    branches = [model.logits(model.encode_frames(features), None)[1] for features in (one, other)]
    assert [part.shape for part in seen] == [(3, descriptors)] * 6
    torch.testing.assert_close(*branches)


def test_audio_alone_takes_all_clusters_and_groups():
    model = mix({"audio": 8})
    assert model.branches[0].modalities[0].anchors.shape == (6, 16 // 4)
    assert mix().branches[0].modalities[1].anchors.shape == (3, 16 // 2)
    assert model(torch.randn(2, WINDOW, 8)).shape == (2, CLASSES)


def test_groups_must_divide_the_widened_frame():
    with pytest.raises(ValueError, match="4 groups do not divide 10 features"):
        mix({"audio": 5})


def test_initial_weights():
    torch.manual_seed(0)
    model = MixNeXtVladConfig(clusters=64, groups=4, hidden=128).build({"rgb": 64}, 50, WINDOW)
    branch = model.branches[0]
    modality = branch.modalities[0]
    weights = (modality.expand, modality.attention, modality.assign, branch.hidden, branch.squeeze, branch.excite)
    for weight, fan_in in [(layer.weight, layer.in_features) for layer in weights] + [(modality.anchors, 128 // 4)]:
        assert weight.std().item() == pytest.approx(sqrt(2 / fan_in), rel=0.1)
        assert weight.abs().max() <= 2 * sqrt(1.3 * 2 / fan_in)
    for norm in model.modules():
        if isinstance(norm, torch.nn.BatchNorm1d):
            assert (norm.eps, norm.momentum) == (1e-3, pytest.approx(1e-3))
