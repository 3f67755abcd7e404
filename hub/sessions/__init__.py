"""What a caller may do to a session. Both edges come in here: policy, then one short transaction, then publish."""
