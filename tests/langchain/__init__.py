"""Each numbered fact about LangChain that touches the handler, as a rule of ours."""
