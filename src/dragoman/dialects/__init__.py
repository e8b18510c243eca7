"""One folder per published wire format: wire and nothing else. They do not know each other."""
