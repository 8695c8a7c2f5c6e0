"""Fold-exact reduction out of core: features are streamed once, every fold's PCA comes from inner products.

columns     where features come from: arrays, maps, the row shards of a store, some of the rows
scaling     what scikit-learn's scalers learn from training rows, column block by column block
plan        how many passes, how wide the blocks, how many bytes; decided before anything is read
matrices    Gram matrices of scaled features, one per training set
eigen       all eigenvalues of a symmetric matrix, eigenvectors of the leading ones
components  how many components are kept, and which way they point
pca         PCA of one training set, with scores of training and held-out rows
covariance  the same where images outnumber features
folds       the PCA of every training set, by whichever matrix is the smaller
kernels     distances, linear and Gaussian kernels
ridge       ridge regression at many penalties
estimator   `GramPCA`, which stands where scikit-learn's `PCA` stood
"""

from tfcells.probes.gram.columns import ColumnSource, StackedRows, select_rows, stored_columns
from tfcells.probes.gram.estimator import GramPCA
from tfcells.probes.gram.folds import fold_pcas
from tfcells.probes.gram.kernels import linear_kernel, nearest, rbf_kernel, resolve_gamma, squared_distances
from tfcells.probes.gram.matrices import Gram, gram_matrices
from tfcells.probes.gram.pca import FoldPCA, fold_pca
from tfcells.probes.gram.plan import GramPlan, plan_grams
from tfcells.probes.gram.ridge import RidgePath, class_targets, ridge_path

__all__ = [
    "ColumnSource",
    "FoldPCA",
    "Gram",
    "GramPCA",
    "GramPlan",
    "RidgePath",
    "StackedRows",
    "class_targets",
    "fold_pca",
    "fold_pcas",
    "gram_matrices",
    "linear_kernel",
    "nearest",
    "plan_grams",
    "rbf_kernel",
    "resolve_gamma",
    "ridge_path",
    "select_rows",
    "squared_distances",
    "stored_columns",
]
