"""Cases as scripts for k6: the JavaScript stands beside, and is filled in with what a target declares."""
