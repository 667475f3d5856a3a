"""One plain-torch decoder for every supported checkpoint family, driven by ModelConfig."""
