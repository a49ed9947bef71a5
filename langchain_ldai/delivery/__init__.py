"""Delivers LaunchDarkly's events also after a crash or an outage: they wait in files until they are accepted."""
