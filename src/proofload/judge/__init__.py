"""Pure judgement: policy, history and ledgers in, findings out. No I/O, no clock, no unseeded chance."""
