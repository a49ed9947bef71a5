"""The metrics of one run, each recorded once."""
