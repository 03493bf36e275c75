"""TC-LOCK: user locks."""
