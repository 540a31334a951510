"""What is allowed: the policy document and the decisions. Pure."""
