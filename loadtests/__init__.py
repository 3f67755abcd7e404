"""Load: a Locust user that judges what it sees, and the acceptance bench."""
