"""TC-RES and its kin: what a target does beyond its capacity, and when a part of it dies."""
