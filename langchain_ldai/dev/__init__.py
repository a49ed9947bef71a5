"""A LaunchDarkly on your desk: it serves AI Configs from a file and shows the runs that arrive."""
