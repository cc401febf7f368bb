"""Which node owns this key? Five answers behind one interface, the statistics to judge them, and a cache built on them.

`DistributedCache` lives in `principal_kit.placement.cache`, which needs the `redis` extra.
"""

from principal_kit.placement.balance import (
    BoundedLoads,
    LoadReport,
    Move,
    RebalancePlan,
    load_cv,
    moved_on_join,
    plan_rebalance,
    share_cv,
)
from principal_kit.placement.hot_keys import HotKey, SpaceSaving, SplitKeys
from principal_kit.placement.interface import Placement
from principal_kit.placement.jump import JumpHash
from principal_kit.placement.maglev import Maglev
from principal_kit.placement.modulo import Modulo
from principal_kit.placement.rendezvous import Rendezvous
from principal_kit.placement.ring import HashRing

__all__ = [
    "BoundedLoads",
    "HashRing",
    "HotKey",
    "JumpHash",
    "LoadReport",
    "Maglev",
    "Modulo",
    "Move",
    "Placement",
    "RebalancePlan",
    "Rendezvous",
    "SpaceSaving",
    "SplitKeys",
    "load_cv",
    "moved_on_join",
    "plan_rebalance",
    "share_cv",
]
