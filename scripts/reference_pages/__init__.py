"""What makes each page of the reference out of the code."""
