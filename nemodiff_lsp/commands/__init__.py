"""Commands and code actions."""
