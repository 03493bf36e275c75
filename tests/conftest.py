"""What holds for every test."""

import os

from hypothesis import settings

# A deadline would judge the machine: on a busy one a sound property fails now and then.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

# Hashing passwords as slowly as one should takes as long as all else that the reference system does for its tests.
os.environ.update(AUTH_KDF_TIME_COST="1", AUTH_KDF_MEMORY_KIB="8")
