"""Target files to start from. They are data: copy one, change what differs."""
