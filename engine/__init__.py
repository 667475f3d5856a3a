"""NemoDiff's resident engine: it owns the model and fills the hole at the cursor.

Importing this package, or ``engine.messages``, must stay free of torch, for the language server's
sake.
"""

__version__ = "0.1.0"
