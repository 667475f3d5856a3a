"""Static passes: a model pass of fixed shape whose inputs lie in one buffer, as a CUDA graph."""
