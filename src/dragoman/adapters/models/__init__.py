"""Adapters to language models, one file per kind of server. Know no service and no dialect."""
