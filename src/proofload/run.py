"""Wires the stages together; the only module that imports them all."""
