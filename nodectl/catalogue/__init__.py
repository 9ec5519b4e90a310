"""The catalogue: what a node should be, as data. Checks, vendor tables and profiles are read and compiled here.

catalogue = load_catalogue(known_facts=registry.resolve)
selection = select(catalogue, "default", areas=["gpu"])
"""

from __future__ import annotations

from nodectl.catalogue.fleet import FleetRule
from nodectl.catalogue.load import load_catalogue
from nodectl.catalogue.model import Catalogue, Check, Drop, Fix, Param, Profile, Selection
from nodectl.catalogue.problems import CatalogueError
from nodectl.catalogue.profiles import select
from nodectl.catalogue.tables import Table

__all__ = [
    "Catalogue",
    "CatalogueError",
    "Check",
    "Drop",
    "Fix",
    "FleetRule",
    "Param",
    "Profile",
    "Selection",
    "Table",
    "load_catalogue",
    "select",
]
