"""What shows people what happened."""
