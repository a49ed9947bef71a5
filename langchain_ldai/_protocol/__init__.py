"""LaunchDarkly's wire protocol for server-side SDKs, with nothing but the standard library."""
