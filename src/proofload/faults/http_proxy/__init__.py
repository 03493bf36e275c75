"""An HTTP proxy that a gateway can have as its upstream: it breaks what it is told to, and counts every hit.

`server.FaultProxy` runs in a loop of one's own; `python -m proofload.faults.http_proxy` runs it as a process.
"""
