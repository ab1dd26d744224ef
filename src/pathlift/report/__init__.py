"""Reports: results, and how people are shown them."""
