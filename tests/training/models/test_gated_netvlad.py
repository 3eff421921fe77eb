"""The Keras model against a plain NumPy reading of the equations."""

from math import sqrt

import keras
import numpy as np
import pytest

from training.fit.keras import served
from training.models.gated_netvlad import GatedNetVladConfig

WIDTHS = {"rgb": 16, "audio": 8}
CLASSES, CLUSTERS, HIDDEN, OUTPUT, EXPERTS = 7, 4, 6, 10, 5
CONFIG = GatedNetVladConfig(clusters=CLUSTERS, hidden=HIDDEN, output=OUTPUT, experts=EXPERTS)


def model(widths: dict[str, int] = WIDTHS) -> keras.Model:
    """A small model, every weight (BatchNorm's averages too) moved off its initial value."""
    keras.utils.set_random_seed(0)
    built = CONFIG.build(widths, CLASSES, window=5)
    rng = np.random.default_rng(0)
    for weight in built.weights:
        value = weight.numpy()
        weight.assign(value + rng.uniform(0.0, 0.5, value.shape))  # variances stay positive
    return built


def layers_of(built: keras.Model) -> list[keras.Layer]:
    """In the order of use."""
    return [*built.get_layer("encoder").layers, *built.get_layer("mixture").layers, *built.layers]


def windows() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    features = rng.normal(size=(3, 5, sum(WIDTHS.values()))).astype(np.float32)
    weights = np.array([[1, 1, 1, 1, 1], [2, 0, 3, 0, 0], [1, 2, 1, 1, 0]], np.float32)
    return features, weights


def in_numpy(built: keras.Model, features: np.ndarray, frame_weights: np.ndarray) -> np.ndarray:
    """Section by section what the published code computes, with `built`'s weights taken in the order of use."""
    weights = {id(layer): [w.numpy().astype(np.float64) for w in layer.weights] for layer in layers_of(built)}
    linear = [layer for layer in layers_of(built) if isinstance(layer, keras.layers.Dense | keras.layers.EinsumDense)]
    norms = [layer for layer in layers_of(built) if isinstance(layer, keras.layers.BatchNormalization)]
    named = {layer.name: weights[id(layer)] for layer in linear}
    of_modalities = len(WIDTHS)
    cluster_norms, (hidden_norm, context_norm, classes_norm) = norms[:of_modalities], norms[of_modalities:]
    hidden_layer, output_layer, context_layer, gates_layer, experts_layer, classes_layer = [
        weights[id(layer)] for layer in linear if not layer.name.endswith(("_clusters", "_anchors"))
    ]

    def softmax(x):
        return np.exp(x) / np.exp(x).sum(-1, keepdims=True)

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    def norm(layer, x):
        gamma, beta, mean, variance = weights[id(layer)]
        return gamma * (x - mean) / np.sqrt(variance + 1e-3) + beta

    rows = []
    for window, times in zip(features.astype(np.float64), frame_weights, strict=True):
        window = np.repeat(window, times.astype(int), axis=0)  # a frame's weight is how often it is there
        window = window / np.linalg.norm(window, axis=1, keepdims=True)
        descriptors, start = [], 0
        for (name, width), cluster_norm in zip(WIDTHS.items(), cluster_norms, strict=True):
            x = window[:, start : start + width]
            start += width
            shares = softmax(norm(cluster_norm, x @ named[f"{name}_clusters"][0]))
            anchors = named[f"{name}_anchors"][0]
            vlad = np.zeros_like(anchors)
            for i in range(len(x)):
                for k in range(len(anchors)):
                    vlad[k] += shares[i, k] * (x[i] - anchors[k])
            vlad = (vlad / np.linalg.norm(vlad, axis=1, keepdims=True)).ravel()
            descriptors.append(vlad / np.linalg.norm(vlad))
        hidden = np.clip(norm(hidden_norm, np.concatenate(descriptors) @ hidden_layer[0]), 0, 6)
        output = hidden @ output_layer[0] + output_layer[1]
        output = output * sigmoid(norm(context_norm, output @ context_layer[0]))
        gates = softmax((output @ gates_layer[0]).reshape(CLASSES, EXPERTS + 1))
        experts = sigmoid((output @ experts_layer[0] + experts_layer[1]).reshape(CLASSES, EXPERTS))
        probabilities = (gates[:, :EXPERTS] * experts).sum(1)
        rows.append(probabilities * sigmoid(norm(classes_norm, probabilities @ classes_layer[0])))
    return np.stack(rows)


def test_agrees_with_numpy():
    built, (features, weights) = model(), windows()
    np.testing.assert_allclose(built([features, weights]), in_numpy(built, features, weights), atol=1e-5, rtol=0)


def test_weight_is_repetition():
    built, (features, weights) = model(), windows()
    repeated = np.repeat(features[1:2], weights[1].astype(int), axis=1)
    alone = built([features[1:2], weights[1:2]])
    np.testing.assert_allclose(served(built, None)(repeated), alone, atol=1e-6)
    shuffled = served(built, None)(repeated[:, [4, 0, 2, 1, 3]])
    np.testing.assert_allclose(shuffled, alone, atol=1e-6)


def test_padding_and_absent_frames_are_finite():
    features, weights = windows()
    features[:, 3:] = 0
    weights[0] = 0
    assert np.isfinite(model()([features, weights])).all()


def test_audio_alone_takes_all_the_clusters():
    built = model({"audio": 8})
    assert built.get_layer("mixture").get_layer("audio_anchors").kernel.shape == (CLUSTERS, 8)
    assert model().get_layer("mixture").get_layer("audio_anchors").kernel.shape == (CLUSTERS // 2, 8)
    assert built([np.ones((2, 5, 8), np.float32), np.ones((2, 5), np.float32)]).shape == (2, CLASSES)


def test_halves_score_some_classes_as_the_whole_model_does():
    """Overlapping windows of one row of frames, each encoded once; only the gates of the asked classes are there."""
    built, (features, weights) = model(), windows()
    frames, index, columns = features.reshape(-1, features.shape[-1]), np.arange(3)[:, None] + np.arange(5), [5, 0, 3]
    encode, score = CONFIG.halves(built)
    scored = CONFIG.scored(built, np.array(columns))
    assert [array.shape for array in scored] == [(3,), (CLASSES, 3), (3,), (3,)]
    scores = score([np.asarray(tensor)[index] for tensor in encode(frames)], weights, *scored)
    np.testing.assert_allclose(scores, np.asarray(built([frames[index], weights]))[:, columns], atol=1e-6)


def test_certain_gates_stay_finite():
    built, (features, weights) = model(), windows()
    gates = next(layer for layer in layers_of(built) if getattr(layer, "kernel_regularizer", None))
    gates.kernel.assign(gates.kernel * 1e4)
    probabilities = np.asarray(built([features, weights]))
    assert np.isfinite(probabilities).all()
    assert probabilities.max() <= 1


def test_saved_model_loads_with_keras_alone(tmp_path):
    features, _ = windows()
    portable = served(model(), None)
    portable.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert isinstance(loaded, keras.Model)
    np.testing.assert_array_equal(loaded(features), portable(features))


def test_losses_are_the_experts_l2_terms():
    built = model()
    kernels = [layer.kernel.numpy() for layer in layers_of(built) if getattr(layer, "kernel_regularizer", None)]
    assert [kernel.shape for kernel in kernels] == [(OUTPUT, CLASSES * 6), (OUTPUT, CLASSES * 5)]
    expected = 1e-6 / 2 * sum((kernel**2).sum() for kernel in kernels)
    assert float(sum(built.losses)) == pytest.approx(expected, rel=1e-5)


def test_initial_weights():
    keras.utils.set_random_seed(0)
    built = GatedNetVladConfig(clusters=8, hidden=64, output=64).build({"rgb": 64}, 64, window=5)
    dense = [layer for layer in layers_of(built) if isinstance(layer, keras.layers.Dense)]
    for layer, fan_in in zip(dense, (64, 8 * 64, 64, 64, None, None, 64), strict=True):
        if fan_in is None:  # the experts: Glorot uniform
            assert np.abs(layer.kernel).max() == pytest.approx(sqrt(6 / sum(layer.kernel.shape)), rel=0.01)
        else:
            assert np.std(layer.kernel) == pytest.approx(1 / sqrt(fan_in), rel=0.1)
    assert np.std(built.get_layer("mixture").get_layer("rgb_anchors").kernel) == pytest.approx(1 / sqrt(64), rel=0.1)
    assert np.std(dense[2].bias) == pytest.approx(0.01, rel=0.3)
    norms = [layer for layer in layers_of(built) if isinstance(layer, keras.layers.BatchNormalization)]
    assert [(norm.momentum, norm.epsilon) for norm in norms] == [(0.999, 1e-3)] * 4


@pytest.mark.parametrize(("clusters", "parameters"), [(8, 117_175_190), (16, 126_105_518)])
def test_parameters_at_paper_size(clusters, parameters):
    with keras.StatelessScope(initialize_variables=False):  # shapes alone, nothing is allocated
        built = GatedNetVladConfig(clusters=clusters).build({"rgb": 1024, "audio": 128}, 3862, window=5)
        count = sum(int(np.prod(variable.shape)) for variable in built.trainable_variables)
    keras.utils.clear_session()
    assert count == parameters
