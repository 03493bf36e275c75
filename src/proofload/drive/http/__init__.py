"""HTTP/1.1: parser, connection, wire."""
