"""Pure models of controls: a state, a step, and no clock of their own."""
