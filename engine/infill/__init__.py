"""From text around a cursor to a prompt and a route, and from tokens back to text that fits."""
