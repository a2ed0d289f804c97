"""Training steps: `step` is one over many devices, `pipeline` the schedules it runs by, `layouts` which of them fit and
which is fastest. What leaves the devices is in `offload` and `host`, uneven loads in `experts` and `sequences`."""
