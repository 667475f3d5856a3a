"""Answers without work, and work before it is asked for: offers, cache, requests in flight."""
