"""The cell kind ``classification``: defect types, learned on made images and recognised on real ones (Tables 4, 5)."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from goodshot.components.classifiers.config import ClassifierConfig
from goodshot.components.classifiers.networks import NETWORKS
from goodshot.components.metrics.detection import ALL, MetricValue
from goodshot.runner.arms import AddedImages, Planner, SeededSupport
from goodshot.runner.cells.base import Cell, Measured
from goodshot.runner.cells.defective import DefectCellKind, DefectCellStage
from goodshot.runner.data.catalogue import Category
from goodshot.runner.declaration.fields import Declaration
from goodshot.runner.stages.base import Context, SharedValue, Stage, Work
from goodshot.runner.stages.continued import discard_checkpoints, trained_to
from goodshot.runner.stages.need import Need

if TYPE_CHECKING:
    import numpy as np

    from goodshot.components.data.shards import Split

METRICS = tuple(network.metric for network in NETWORKS)
"""A metric for each network: accuracies of different networks are not comparable."""
MACRO = "defect_accuracy_macro"


@dataclass(frozen=True, kw_only=True)
class ClassificationStage(DefectCellStage):
    """Train a classifier on made defective images, and classify the real test images."""

    kind = "classification"
    title = "classification"
    version = 1

    config: ClassifierConfig

    @classmethod
    def needs(cls, study: Declaration) -> Iterator[Need]:
        """The classifier's pretrained weights."""
        config = study.synthesis.classifier
        if (weights := config.kind.weights) is not None:
            yield Need(weights, f"synthesis.classifier.network = {config.network}")

    @property
    def reads(self) -> tuple[SharedValue, ...]:
        """The test images, the validation images, and real defects if they are learned from."""
        return (self.tested, *self.validation_read, *self.defective.reads)

    def work(self, wanted: Sequence[Stage], device: str) -> Sequence[Work]:
        """Training steps."""
        return (Work(self._work_kind(device), self.config.steps),)

    def disk(self, wanted: Sequence[Stage]) -> int:
        """The bytes of its row, and of a score for each test image."""
        return 4096 + 100 * len(self.split.test_ids)

    def memory_kind(self) -> str:
        """The kind of work of a step."""
        return self._work_kind("cuda")

    def run(self, context: Context, wanted: Sequence[Stage]) -> Measured:
        """Train, choose a checkpoint on the validation images, and count the right answers."""
        from goodshot.components.classifiers.training import Classifier, accuracy

        made, work = self.defective.read(context), self._work_kind(context.device)
        began = time.perf_counter()
        classifier = Classifier(made.images, self.config, self.cell.seed, self.validation(context), context.device)
        trained_to(classifier.fitting, self.config.steps, self.key, context, work, reports=False)
        discard_checkpoints(self.key, context.store)
        fitted = time.perf_counter()
        test = self.test_images(context)
        test = test.of([image_id for image_id, label in zip(test.image_ids, test.labels, strict=True) if label])
        probabilities = classifier.classify(test.images)
        found = accuracy(probabilities, classifier.types, test.defect_types)
        facts = made.columns | {"seconds_fit": fitted - began, "seconds_score": time.perf_counter() - fitted}
        metric = self.config.kind.metric
        values = [MetricValue(ALL, metric, found.overall), MetricValue(ALL, MACRO, found.macro)]
        values += [MetricValue(name, metric, share) for name, share in found.by_type.items()]
        columns = {metric: found.overall, **facts, "n_test": len(test)}
        return Measured(columns, list(_answers(test, probabilities, classifier.types)), values)

    def _work_kind(self, device: str) -> str:
        return f"classify|{self.config.network}|{self.config.resolution}|{self.config.batch}|{device}"


class Classification(DefectCellKind):
    """The study's classifier for each support and each arm whose images show the real types of defect."""

    name = "classification"
    title = "defect classification"
    stages = (ClassificationStage,)
    needs_types = True
    columns = MappingProxyType(
        {
            **dict.fromkeys((*METRICS, "seconds_fit", "seconds_score"), pa.float64()),
            **dict.fromkeys(("image_size", "n_test"), pa.int64()),
        }
    )
    metrics = METRICS
    checked = ("n_test", *METRICS)

    def side(self, subject: Any, study: Declaration) -> int:
        """The side of the classifier's input."""
        return study.synthesis.classifier.resolution

    def omits(self, study: Declaration, category: Category) -> str:
        """Return the reason for a category with fewer than two defect types, such as MVTec AD's toothbrush."""
        kinds = {sample.defect_type for sample in category.samples if sample.label} - {*study.synthesis.leave_out}
        return "" if len(kinds) > 1 else f"its only defect type is {', '.join(kinds)}" if kinds else "it has no defects"

    def problems(
        self, row: Mapping[str, Any], labels: np.ndarray, scores: np.ndarray, has_metrics: bool
    ) -> Iterator[str]:
        """Check that each test image has an answer, and that the right ones give the accuracy of the row."""
        if len(scores) != row["n_test"]:
            yield f"has {len(scores)} scores of {row['n_test']} test images"
            return
        stated = [row[metric] for metric in METRICS if row[metric] is not None]
        right = float((scores > 0).mean())
        if len(stated) != 1 or abs(stated[0] - right) > 1e-9:
            yield f"says accuracy {stated}, and its answers give {right:.6f}"

    def plan(
        self, planner: Planner, cell: Cell, seeded: SeededSupport, added: AddedImages, declared: Mapping[str, Any]
    ) -> ClassificationStage:
        """Plan a cell. The classifier's options identify it too."""
        config = planner.study.synthesis.classifier
        declared = {**declared, "image_size": config.resolution}
        options = {"classifier": config.identity()}
        return self.planned(
            ClassificationStage, options, planner, cell, seeded, added, declared, side=config.resolution, config=config
        )


def _answers(test: Split, probabilities: np.ndarray, types: Sequence[str]) -> Iterator[dict[str, Any]]:
    """A score for each test image: the probability of the answer, negative if the answer is wrong."""
    for n, (image_id, defect_type) in enumerate(zip(test.image_ids, test.defect_types, strict=True)):
        best = int(probabilities[n].argmax())
        score = float(probabilities[n][best]) * (1 if types[best] == defect_type else -1)
        yield {"image_id": image_id, "label": 1, "defect_type": defect_type, "score": score}
