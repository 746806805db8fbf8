"""auditkit: audit the data behind a trained model, through the model itself."""
