"""Measurements of the language server as its users meet it: `nemodiff bench`.

Everything here speaks the language server protocol with a real server process, on stdin and stdout.
"""
