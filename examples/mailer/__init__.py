"""A mailer: Gello at work, in a story of a quarter of a minute. Run it with `python -m examples.mailer`."""
