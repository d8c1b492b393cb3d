"""A class for every base, from annotated features."""

from dnamamba.datasets.annotation.config import AnnotationConfig
from dnamamba.datasets.annotation.data import AnnotationData

__all__ = ["AnnotationConfig", "AnnotationData"]
