"""What editors/install.py puts into editors, and how it takes it back."""
