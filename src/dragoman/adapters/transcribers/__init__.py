"""Adapters to what turns speech into text, one file per kind of it. Know no service and no dialect."""
