"""The only code that knows MLflow: where runs live, how they are opened, found and read, and how models are logged."""
