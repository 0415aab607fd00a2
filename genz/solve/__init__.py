"""Layer 6: searches and optimisers on top of the models."""
