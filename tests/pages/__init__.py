"""What the project's own pages print to be typed, typed."""
