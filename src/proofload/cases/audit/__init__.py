"""TC-AUDIT: the audit log."""
