"""Side by side with what others would use for the same work: see README.md."""
