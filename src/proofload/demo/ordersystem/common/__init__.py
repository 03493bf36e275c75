"""What every service of the system needs: settings, errors, metrics, audit log, request ids, the Redis store."""
