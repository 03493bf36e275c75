"""Clock, seeds, units and errors: what every stage speaks in. Imports nothing of ours and does no I/O."""
