"""Every causal architecture that transformers has, built tiny, against plain transformers: `make architectures`."""
