"""Data sources, their splits and preprocessing, and the Lightning data module that trains on them.

A source reads files (`BuiltinSource`, `PublishedSource`, `TableSource`, `IdxSource`, `ImageFolderSource`,
`TextSource`, `NpzSource`, `SeriesSource`); `ArrayDataModule` makes batches of what it gives;
`preprocessor_from_dict` turns raw rows into inputs afterwards. pandas, scikit-learn and requests are imported
when a source reads.
"""

from lightning_modules.data.base import DataInfo, DataSource, Kind, Split, TaskType, TrainingData
from lightning_modules.data.builtin import BUILTIN_NAMES, BuiltinSource
from lightning_modules.data.idx import IdxSource, read_idx
from lightning_modules.data.image_folder import ImageFolderSource
from lightning_modules.data.module import ArrayDataModule, Augment, BatchLoader, TensorSplit, batches, permutation
from lightning_modules.data.npz import NpzSource
from lightning_modules.data.on_disk import DiskArray
from lightning_modules.data.preprocessing import (
    ImagePreprocessor,
    Preprocessor,
    SeriesPreprocessor,
    TabularPreprocessor,
    TextPreprocessor,
    preprocessor_from_dict,
)
from lightning_modules.data.published import PUBLISHED_SETS, PublishedSource
from lightning_modules.data.series import SeriesSource
from lightning_modules.data.splits import SplitIndices, split_rows
from lightning_modules.data.table import TableSource
from lightning_modules.data.texts import TextSource

__all__ = [
    "BUILTIN_NAMES",
    "PUBLISHED_SETS",
    "ArrayDataModule",
    "Augment",
    "BatchLoader",
    "BuiltinSource",
    "DataInfo",
    "DataSource",
    "DiskArray",
    "IdxSource",
    "ImageFolderSource",
    "ImagePreprocessor",
    "Kind",
    "NpzSource",
    "Preprocessor",
    "PublishedSource",
    "SeriesPreprocessor",
    "SeriesSource",
    "Split",
    "SplitIndices",
    "TableSource",
    "TabularPreprocessor",
    "TaskType",
    "TensorSplit",
    "TextPreprocessor",
    "TextSource",
    "TrainingData",
    "batches",
    "permutation",
    "preprocessor_from_dict",
    "read_idx",
    "split_rows",
]
