"""The integration packages of the model providers, against a loopback server that answers like them."""
