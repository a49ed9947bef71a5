"""What is lost and doubled on the way to LaunchDarkly, with and without durable delivery, in real processes."""
