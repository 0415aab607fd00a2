"""Layer 1: frozen records of what a model, a platform and a deployment are."""
