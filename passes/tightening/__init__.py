"""Networks on a box of inputs: gates that do not bend there, channels that are zero, centred inputs."""
