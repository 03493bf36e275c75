"""Wrong implementations, one small piece each, to be put in place of an honest part. Nothing honest imports these."""
