"""The brokers of Gello."""
