"""The gateway: identifies, limits, authorises, breaks circuits and forwards; it knows nothing of money."""
