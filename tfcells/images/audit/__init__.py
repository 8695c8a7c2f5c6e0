"""What is wrong with a collection: copies, contradicting classes, odd pictures. Needs no TensorFlow and no weights.

`audit` is the way in; `write_audit` makes files of what it finds.
"""

from tfcells.images.audit.files import write_audit
from tfcells.images.audit.findings import Audit, Embeddings, LabelConflict, Pair
from tfcells.images.audit.run import audit

__all__ = ["Audit", "Embeddings", "LabelConflict", "Pair", "audit", "write_audit"]
