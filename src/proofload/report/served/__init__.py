"""The live page: served on loopback behind a random token while a run goes on; reads, and changes nothing."""
