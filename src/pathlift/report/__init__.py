"""Reports: figures drawn for people."""
