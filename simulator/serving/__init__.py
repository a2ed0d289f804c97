"""Serving a request trace: batches of prompt pieces and decodes, step by step, under the KV memory there is."""
