"""Which files are never completed and never context, and what an untrusted folder may not do."""
