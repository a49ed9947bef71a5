"""Delivery of events that outlives the process: a journal on disk, and a thread that sends it."""
