"""Failed jobs: what is kept of them, where, and how they are retried."""
