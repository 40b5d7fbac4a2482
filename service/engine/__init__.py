"""Engines run legs. The only door to Ray.

`base` is the contract, `local` runs in this process, `ray_tune` on a cluster.
"""
