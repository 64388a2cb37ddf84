"""The database broker: its leases, and each database's statements."""
