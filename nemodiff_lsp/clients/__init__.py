"""Clients: what each editor's language client does with a completion, as far as it matters here."""
