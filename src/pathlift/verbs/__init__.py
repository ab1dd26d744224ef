"""The verbs: one public function each, which the command line and the Python API share."""
