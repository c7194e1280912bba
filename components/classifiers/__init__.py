"""Classification of defect types, trained on made defective images (Tables 4 and 5)."""

from goodshot.components.classifiers.config import ClassifierConfig
from goodshot.components.classifiers.training import Accuracy, Classifier

__all__ = ["Accuracy", "Classifier", "ClassifierConfig"]
