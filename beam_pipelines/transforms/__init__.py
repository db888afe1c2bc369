"""The pipeline's steps: Beam around the pure functions of `beam_pipelines.rules`."""
