"""Generated kernels: schedules, templates, and the sources rendered from them."""
