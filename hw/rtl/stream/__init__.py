"""Streams: buffers, queues and arbiters of valid/ready beats."""
