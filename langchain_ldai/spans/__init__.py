"""Spans of a run, in the form in which LaunchDarkly shows them beside its AI Config."""
