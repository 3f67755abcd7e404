"""`hub serve` as processes: one supervisor, its workers, the embedded services."""
