"""Statistics of completions: counts only, on this machine only, off by setting."""
