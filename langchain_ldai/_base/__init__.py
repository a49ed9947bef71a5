"""What knows neither LaunchDarkly nor LangChain."""
