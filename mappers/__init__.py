"""How operations run on engines and where tensors live. Imports workloads and hw."""
