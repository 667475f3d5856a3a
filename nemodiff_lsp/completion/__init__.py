"""From a request for inline completion to its one answer."""
