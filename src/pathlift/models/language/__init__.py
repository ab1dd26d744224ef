"""Token models on data of a regular language: what of their probability left it, and what is distorted inside."""
