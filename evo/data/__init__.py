"""Datasets as decoded arrays: CIFAR-10, any image folder, the embedded digits. Imports no torch."""

from evo.data.cache import cache_root
from evo.data.prepared import PreparedDataset, detect_dataset, prepare_dataset
from evo.data.splits import split_train
from evo.names import DATASETS

__all__ = [
    "DATASETS",
    "PreparedDataset",
    "cache_root",
    "detect_dataset",
    "prepare_dataset",
    "split_train",
]
