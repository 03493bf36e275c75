"""Orders the cases and runs them side by side where they do not disturb each other."""
