"""Shows verdicts to people and machines; decides nothing."""
