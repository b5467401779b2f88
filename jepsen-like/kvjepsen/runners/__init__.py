"""What carries out a plan: here, on a simulated cluster."""
