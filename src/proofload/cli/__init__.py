"""Arguments in, exit status out. Decides nothing that a library user would miss."""
