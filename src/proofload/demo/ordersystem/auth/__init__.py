"""The auth service: who users are. It never sees money."""
