"""What operators see: logs and metrics. Never the content of a message, a token or a key."""
