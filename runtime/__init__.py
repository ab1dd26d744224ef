"""Execution: plans, executors and sessions."""
