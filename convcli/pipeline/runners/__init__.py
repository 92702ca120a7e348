"""Engines that run the shards of a job: each is one file with a :class:`~convcli.pipeline.runners.base.Runner`."""
