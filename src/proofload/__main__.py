"""`python -m proofload` is the command `proofload`."""

from proofload.cli.main import main

main()
