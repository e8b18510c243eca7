"""Documents made into pieces of text, in a process of its own."""
