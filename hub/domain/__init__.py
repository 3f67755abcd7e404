"""The hub's own words: ids, errors, roles, sessions, runs, teams. Standard library only."""
