"""TC-INT: controls beside each other. Each may be right by itself, and wrong where it meets another."""
