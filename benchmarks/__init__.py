"""Each claim of speed, measured against a named peer in one run."""

import os

# As in training, before torch is loaded: threads that spin at a barrier take the processor from the other work.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
