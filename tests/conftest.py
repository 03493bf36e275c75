"""What holds for every test."""

from hypothesis import settings

# A deadline would judge the machine: on a busy one a sound property fails now and then.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")
