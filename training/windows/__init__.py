"""Windows of frames: sampler, clips, training examples, segments for inference."""
