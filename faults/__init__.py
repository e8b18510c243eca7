"""The fault harness: clients that write down what they saw, and one checker that holds it against the server."""
