"""Membership inference: how well the scores of a classifier tell the samples that it was trained on from others."""
