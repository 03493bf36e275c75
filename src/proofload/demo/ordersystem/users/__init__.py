"""The user service: what users own. Money is whole cents."""
