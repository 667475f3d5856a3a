"""The way to the engine: which one, found or started, watched while it loads."""
