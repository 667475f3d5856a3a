"""What the user may set: definition, sources, checks, the table of the documentation."""
