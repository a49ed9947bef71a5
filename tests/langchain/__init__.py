"""Each numbered fact about LangChain as a rule of ours, but for those on how runs end (`tests/runs/ends`)."""
