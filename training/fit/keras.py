"""Members in Keras on TensorFlow: Adam, each gradient tensor clipped separately, one compiled step."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportCallIssue=false
# (Keras's variables have no types.)

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

import numpy as np

from training.fit import devices
from training.fit.kinds import Kind
from training.fit.loop import CLIP, Predictor
from training.fit.options import DEFAULT, TorchOptions
from training.member import Member
from training.models.architecture import KerasArchitecture
from training.windows.clips import LEVELS, StoredFrames
from training.windows.examples import Batch
from training.windows.sampler import draws_at
from training.windows.segments import Windows
from videos.dataset import Dataset
from videos.sources.records import import_tensorflow

if TYPE_CHECKING:
    import keras

WINDOWS = 256  # windows in one forward pass when predicting


class KerasEstimator:
    """`training.fit.loop.GradientEstimator` of a Keras model; `options` are not used."""

    def __init__(self, member: Member, dataset: Dataset, options: TorchOptions = DEFAULT):
        tf = import_tensorflow()
        import keras

        keras.utils.set_random_seed(member.seed)
        config = _config(member)
        window = member.sampler.length(dataset.segment_frames)
        self.model = config.build(dataset.modalities, dataset.classes, window)
        self.step = 0
        self._draws = member.sampler.equal_draws(dataset.segment_frames)
        # clipnorm clips each gradient tensor separately, global_clipnorm would clip their joint norm.
        self._optimizer = keras.optimizers.Adam(1e-4, beta_1=0.9, beta_2=0.999, epsilon=1e-8, clipnorm=CLIP)
        self._optimizer.build(self.model.trainable_variables)
        variables = self.model.trainable_variables

        @tf.function(reduce_retracing=True)
        def train_step(features, labels, mask):
            with tf.GradientTape() as tape:
                p = self.model([features, tf.ones(tf.shape(features)[:2])], training=True)
                entropy = -(labels * tf.math.log(p + 1e-5) + (1 - labels) * tf.math.log(1 - p + 1e-5))
                loss = tf.reduce_mean(tf.reduce_sum(entropy * mask, axis=-1))
                penalised = loss + tf.add_n(self.model.losses)
            self._optimizer.apply_gradients(zip(tape.gradient(penalised, variables), variables, strict=True))
            return loss

        encode, score = config.halves(self.model)
        any_frames = tf.TensorSpec((None, dataset.width), tf.float32)  # traced once for any number of frames

        @tf.function(reduce_retracing=True)
        def score_indexed(encoded, index, frame_weights, scored):
            return score([tf.gather(tensor, index) for tensor in encoded], frame_weights, *scored)

        self._train_step, self._score = train_step, score_indexed
        self._encode = tf.function(encode, input_signature=[any_frames])
        self._scored = lambda columns: config.scored(self.model, columns)

    def prepared(self, batch: Batch) -> Batch:
        return batch

    def train_step(self, batch: Batch, rate: float) -> float:
        import tensorflow as tf

        self._optimizer.learning_rate.assign(rate)
        mask = np.ones((1, 1), np.float32) if batch.mask is None else batch.mask
        loss = self._train_step(_features(batch.frames), tf.constant(batch.labels), tf.constant(mask))
        self.step += 1
        return float(loss)

    def predictor(self, columns: np.ndarray) -> Predictor:
        import tensorflow as tf

        scored = [tf.constant(array) for array in self._scored(columns)]

        def predict(windows: Windows) -> np.ndarray:
            encoded = self._encode(_features(windows.frames))
            blocks = [slice(i, i + WINDOWS) for i in range(0, len(windows.index), WINDOWS)]
            scores = [
                self._score(encoded, tf.constant(windows.index[b]), tf.constant(windows.frame_weights[b]), scored)
                for b in blocks
            ]
            return np.concatenate(scores)

        return predict

    def servable(self) -> "keras.Model":
        return served(self.model, self._draws)

    def weights(self) -> dict[str, np.ndarray]:
        return {_name(i): np.asarray(variable).copy() for i, variable in enumerate(self.model.weights)}

    def moments(self) -> dict[str, np.ndarray]:
        return {_name(i): np.asarray(variable).copy() for i, variable in enumerate(self._optimizer.variables)}

    def restore(self, step: int, weights: dict[str, np.ndarray], moments: dict[str, np.ndarray]) -> None:
        for variables, saved in ((self.model.weights, weights), (self._optimizer.variables, moments)):
            for i, variable in enumerate(variables if saved else ()):
                variable.assign(saved[_name(i)])
        self.step = step


def served(model: "keras.Model", draws: int | None) -> "keras.Model":
    """The model as it is logged (`GradientEstimator.servable`); `draws` is `Sampler.equal_draws`."""
    import keras
    from keras import ops

    features = keras.Input(model.inputs[0].shape[1:], name="features")
    there = ops.cast(ops.any(ops.not_equal(features, 0.0), axis=-1), "float32")
    if draws is None:
        weights = ops.ones_like(there)
    else:
        positions = ops.subtract(ops.cumsum(ops.ones_like(there), axis=1), 1.0)
        valid = ops.maximum(ops.sum(there, axis=1, keepdims=True), 1.0)
        weights = draws_at(positions, draws, valid) * there
    return keras.Model(features, model([features, weights]), name=model.name)


def _features(frames: StoredFrames):
    """The features (..., D), dequantised on TensorFlow's device."""
    import tensorflow as tf

    values = tf.constant(frames.values)
    features = tf.gather(LEVELS, tf.cast(values, tf.int32)) if values.dtype == tf.uint8 else values
    return features if frames.padding is None else tf.where(frames.padding[..., None], 0.0, features)


def _name(index: int) -> str:
    """Name of a variable in safetensors: its index, since Keras's layer names differ from process to process."""
    return f"{index:04d}"


def _config(member: Member) -> KerasArchitecture:
    return cast(KerasArchitecture, member.config)


def _parameters(member: Member, widths: Mapping[str, int], classes: int, window: int) -> int:
    return _config(member).parameters(widths, classes)


def _device_name(options: TorchOptions) -> str:
    tf = import_tensorflow()
    names = [tf.config.experimental.get_device_details(gpu) for gpu in tf.config.list_physical_devices("GPU")]
    return names[0].get("device_name", "GPU") if names else devices.CPU


KIND = Kind("Keras", "keras", _parameters, KerasEstimator, device=_device_name)
