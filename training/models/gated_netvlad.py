"""Gated NetVLAD, the member in Keras: NetVLAD descriptors per modality, context gating, gated class probabilities.

Each frame is softly assigned to its modality's clusters, and a descriptor sums the residuals to the clusters' anchors.
Beyond the paper's text, as its code does: BatchNorm in place of biases, a second L2 normalisation over the whole
descriptor, two layers after it, context gating on their output, and the classes' probabilities gated by each other.
Shapes: B batch, T frames, K clusters, J width of a modality, C classes.
"""

# pyright: reportArgumentType=false, reportCallIssue=false, reportGeneralTypeIssues=false
# pyright: reportOptionalOperand=false, reportOptionalIterable=false, reportOptionalSubscript=false
# (Keras's parameters have no types; those guessed from their defaults are too narrow.)

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import sqrt
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from training.limits import Count, Decay, Two
from training.models.architecture import KerasArchitecture

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class GatedNetVladConfig(KerasArchitecture):
    layout: ClassVar[int | None] = 2
    has_batch_norm: ClassVar[bool] = True

    clusters: Two = 8  # of the first modality, half as many of a further one; the paper says 16, its scripts 8
    hidden: Count = 1024
    output: Count = 2048
    experts: Count = 5
    batch_norm_decay: Decay = 0.999  # of the moving averages; training for few steps needs a smaller one

    def with_batch_norm_decay(self, decay: float) -> Self:
        return replace(self, batch_norm_decay=decay)

    def parameters(self, widths: Mapping[str, int], classes: int) -> int:
        batch_norm = 2  # scale and offset per column
        count = descriptor = 0
        for place, width in enumerate(widths.values()):
            clusters = self.clusters if place == 0 else self.clusters // 2
            count += (width + batch_norm) * clusters + clusters * width  # assignment, anchors
            descriptor += clusters * width
        count += (descriptor + batch_norm) * self.hidden
        count += (self.hidden + 1) * self.output
        count += (self.output + batch_norm) * self.output  # context gating
        count += self.output * classes * (self.experts + 1) + (self.output + 1) * classes * self.experts
        return count + (classes + batch_norm) * classes  # gating among classes

    def build(self, widths: Mapping[str, int], classes: int, window: int) -> "keras.Model":
        """See `KerasArchitecture`; features and weights are as in `WindowModel`, any number of frames will do.

        The L2 terms are the model's `losses`. All its layers are Keras's own, so a saved model loads without this file.
        """
        import keras

        features = keras.Input((None, sum(widths.values())), name="features")
        frame_weights = keras.Input((None,), name="frame_weights")
        encoder = self._encoder(widths)
        encoded = [keras.Input(tensor.shape[1:]) for tensor in encoder.outputs]
        probabilities = self._mixture(encoded, frame_weights, widths, classes)
        mixture = keras.Model([*encoded, frame_weights], probabilities, name="mixture")
        probabilities = mixture([*encoder(features), frame_weights])
        outputs = _gated(probabilities, classes, "classes", self.batch_norm_decay)
        return keras.Model([features, frame_weights], outputs, name="gated_netvlad")

    def _encoder(self, widths: Mapping[str, int]) -> "keras.Model":
        """Single frames: features (B, T, D) to each modality's frames (B, T, J) and cluster assignments (B, T, K)."""
        import keras
        from keras import layers

        features = keras.Input((None, sum(widths.values())))
        frames = _l2_normalise(features, axis=-1)  # over all modalities together
        tensors, start = [], 0
        for name, width in widths.items():
            clusters = self.clusters if start == 0 else self.clusters // 2
            part = frames[:, :, start : start + width]
            start += width
            assign = layers.Dense(clusters, use_bias=False, kernel_initializer=_normal(width), name=f"{name}_clusters")
            tensors += [part, layers.Softmax()(_batch_norm(self.batch_norm_decay)(assign(part)))]
        return keras.Model(features, tensors, name="encoder")

    def _mixture(self, encoded, frame_weights, widths: Mapping[str, int], classes: int):
        """The probabilities (B, C) before class gating, from the encoder's output."""
        import keras
        from keras import layers

        modalities = zip(widths, encoded[::2], encoded[1::2], strict=True)
        descriptors = [_vlad(part, shares, frame_weights, name) for name, part, shares in modalities]
        hidden = layers.Concatenate()(descriptors) if len(descriptors) > 1 else descriptors[0]

        hidden = layers.Dense(self.hidden, use_bias=False, kernel_initializer=_normal(hidden.shape[-1]))(hidden)
        hidden = layers.ReLU(max_value=6)(_batch_norm(self.batch_norm_decay)(hidden))
        hidden = layers.Dense(
            self.output,
            kernel_initializer=_normal(self.hidden),
            bias_initializer=keras.initializers.RandomNormal(stddev=0.01),
        )(hidden)
        hidden = _gated(hidden, self.output, "context", self.batch_norm_decay)
        return _mixture_of_experts(hidden, classes, self.experts)

    def halves(self, model: "keras.Model") -> tuple[Callable, Callable]:
        from keras import ops

        encoder, mixture = model.get_layer("encoder"), model.get_layer("mixture")

        def encode(frames):
            return [tensor[0] for tensor in encoder(frames[None], training=False)]

        def score(encoded, frame_weights, columns, weights, scale, offset):
            probabilities = mixture([*encoded, frame_weights], training=False)
            gates = ops.sigmoid(ops.matmul(probabilities, weights) * scale + offset)
            return ops.take(probabilities, columns, axis=1) * gates

        return encode, score

    def scored(self, model: "keras.Model", columns: np.ndarray) -> tuple[np.ndarray, ...]:
        """`columns` (S,), their gates' weights (C, S), and their BatchNorm as scale and offset (S,).

        Each gate reads the probabilities of all classes, so only the gates can be restricted to `columns`.
        """
        norm = model.get_layer("classes_norm")
        scale, offset, mean, variance = (np.asarray(weight)[columns] for weight in norm.weights)
        scale = scale / np.sqrt(variance + norm.epsilon)
        return columns, np.asarray(model.get_layer("classes_gates").kernel)[:, columns], scale, offset - mean * scale


def _vlad(frames, shares, frame_weights, name: str):
    """The descriptor (B, K * J) of a modality's frames (B, T, J) with their cluster assignments (B, T, K)."""
    from keras import layers, ops

    width, clusters = frames.shape[-1], shares.shape[-1]
    shares = shares * ops.expand_dims(frame_weights, -1)
    anchors = layers.EinsumDense(  # each anchor times the sum of its assignments
        "bk,kj->bkj", output_shape=(clusters, width), kernel_initializer=_normal(width), name=f"{name}_anchors"
    )
    residuals = ops.einsum("btk,btj->bkj", shares, frames) - anchors(ops.sum(shares, axis=1))
    return _l2_normalise(layers.Flatten()(_l2_normalise(residuals, axis=-1)), axis=-1)


def _gated(x, width: int, name: str, decay: float):
    """`x` times a sigmoid gate per value, computed from all of `x`."""
    from keras import layers

    gates = layers.Dense(width, use_bias=False, kernel_initializer=_normal(width), name=f"{name}_gates")(x)
    return x * layers.Activation("sigmoid")(_batch_norm(decay, f"{name}_norm")(gates))


def _mixture_of_experts(x, classes: int, experts: int):
    """Probabilities (B, C); the Keras twin of `heads.MixtureOfExperts`."""
    from keras import layers, ops, regularizers

    def dense(columns: int, bias: bool):  # Glorot's uniform initialiser is the default
        return layers.Dense(columns, use_bias=bias, kernel_regularizer=regularizers.L2(1e-6 / 2))

    def by_expert(values, count: int):  # (B, C * count) to (count, B, C): working along a last axis of six is slow
        return ops.transpose(layers.Reshape((classes, count))(values), (2, 0, 1))

    gates = by_expert(dense(classes * (experts + 1), bias=False)(x), experts + 1)
    chances = ops.sigmoid(by_expert(dense(classes * experts, bias=True)(x), experts))
    shares = ops.exp(gates - ops.stop_gradient(ops.max(gates, axis=0)))  # a softmax before its division
    # The last share is the dummy expert's, whose probability is 0.
    return ops.sum(shares[:experts, :] * chances, axis=0) / ops.sum(shares, axis=0)


def _batch_norm(decay: float, name: str | None = None):
    from keras import layers

    return layers.BatchNormalization(momentum=decay, epsilon=1e-3, name=name)


def _normal(fan_in: int):
    from keras import initializers

    return initializers.RandomNormal(stddev=1 / sqrt(fan_in))


def _l2_normalise(x, axis: int):
    from keras import ops

    return x * ops.rsqrt(ops.maximum(ops.sum(ops.square(x), axis=axis, keepdims=True), 1e-12))
