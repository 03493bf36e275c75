"""TC-RL: rate limits. `driving` says what is sent, `judging` what is asked of the judges, `keys` who is limited."""
