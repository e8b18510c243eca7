"""What services ask of the world, as Protocols. Knows no adapter."""
