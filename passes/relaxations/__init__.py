"""Linear relaxations of what two networks compute, and of their difference, by backward substitution."""
