"""Properties are checked without a deadline: on a busy machine the first example would miss any."""

from hypothesis import settings

settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")
