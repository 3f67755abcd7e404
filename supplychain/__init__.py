"""What the hub is made of: its packages, their licences, and what is known against them. Not a part of the hub."""
