"""Extraction and sweeps on Ray workers, of this machine or of a running cluster; results are the same as without.

Plain actors, not Ray Data: shards must come back whole, at the rows where they begin in this process, in order and
never more than a few at a time. Ray Data would cut them into Arrow blocks, copy the arrays twice and hold back by
memory, not by shards; actors give order, identity and the bound for a queue of references.

cluster  what a person asks for
session  a connection to Ray; where there is none, a Ray of this process's own on the loopback interface
worker   the actor: opens the network once and makes shards
shards   the driver: gives out shards, takes them back in order
tasks    joblib's tasks on the same workers
"""

from tfcells.features.cluster.cluster import Cluster

__all__ = ["Cluster"]
