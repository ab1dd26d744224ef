"""The fastest choice of Kronecker-sparse layers within an error: measured, solved, and verified."""
