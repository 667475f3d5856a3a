"""Finishing: from what the model wrote to what is worth showing at this cursor, or nothing."""
