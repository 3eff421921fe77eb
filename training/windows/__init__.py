"""Which frames a model sees: sampler, clips, training examples, segments to predict."""
