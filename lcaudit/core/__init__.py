"""What every stage shares: the data that flows between them, and helpers without state."""
