"""Training data attribution, auditkit side by side with other libraries."""
