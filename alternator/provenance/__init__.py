"""What is outside, where it came from, what was relied on, what was written."""
