"""Breaks something on a lease and mends it whatever happens; a module for each driver. Judges nothing.

Others use `lease.lease`, `journal.Journal`, `probes` and the drivers; a target's declared faults become drivers by
`declared.driver_of`.
"""
