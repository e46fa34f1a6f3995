"""Datasets as decoded arrays: CIFAR-10, any image folder, the embedded digits. Does not import torch."""

from evo.data.cache import PreparedDataset, cache_root
from evo.data.prepared import detect_dataset, prepare_dataset
from evo.data.splits import split_train

__all__ = ["PreparedDataset", "cache_root", "detect_dataset", "prepare_dataset", "split_train"]
