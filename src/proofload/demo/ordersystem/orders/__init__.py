"""The order service: buys things with the money that the user service keeps."""
