"""The kinds of genes: what values each allows, and how they are drawn, compared and written."""

from evo.space.genes.base import Gene
from evo.space.genes.choices import Boolean, Categorical
from evo.space.genes.layers import Layers
from evo.space.genes.numbers import Float, Integer, Number

GENE_KINDS: dict[str, type[Gene]] = {kind.type: kind for kind in (Float, Integer, Categorical, Boolean, Layers)}
"""The kinds by the name that a space file gives as `type`."""

__all__ = ["GENE_KINDS", "Boolean", "Categorical", "Float", "Gene", "Integer", "Layers", "Number"]
