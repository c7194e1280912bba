import json
import subprocess
import sys
from dataclasses import asdict

import pytest
from pydantic import ValidationError

from goodshot.components.detectors import DetectorConfig
from goodshot.components.detectors.families import PATCHCORE, family_of
from goodshot.components.detectors.models import TABLE, models

ONLY_TRAINED, ONLY_PATCHCORE = PATCHCORE.unread, family_of("padim").unread


@pytest.mark.parametrize("layers", [(), ("layer2",), ("blocks.4", "blocks.2"), ("blocks.2", "blocks.2")])
def test_layers_that_anomalib_would_drop_or_mix_up_are_refused(layers: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError, match="in this order"):
        DetectorConfig(layers=layers)


@pytest.mark.parametrize(
    "field",
    [{"coreset_ratio": 0.0}, {"coreset_ratio": 1.1}, {"num_neighbors": 0}, {"image_size": 16}, {"seed": 1}],
)
def test_values_outside_their_range_are_refused(field: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        DetectorConfig.model_validate(field)


def test_the_label_names_the_substitute_backbone() -> None:
    assert DetectorConfig().label == "patchcore-lite0"


def test_the_identity_holds_every_field_and_the_weights_hash() -> None:
    identity = DetectorConfig(num_neighbors=3).identity()
    # Fields that came later count only where they change something, so that older rows keep their fingerprints.
    later = {"crop", "weights"}
    assert set(DetectorConfig.model_fields) - {"alias", "preset", *later, *ONLY_TRAINED} < set(identity)
    assert not later & identity.keys()
    assert DetectorConfig(crop=224).identity()["crop"] == 224
    assert identity["num_neighbors"] == 3
    assert len(identity["backbone_sha256"]) == 64
    assert int(identity["backbone_sha256"], 16)


def test_only_what_a_model_reads_identifies_it() -> None:
    padim = DetectorConfig(name="padim", args={"n_features": 50})
    assert padim.identity()["args"] == {"n_features": 50}
    assert not {"alias", *ONLY_PATCHCORE} & padim.identity().keys()
    assert DetectorConfig(alias="mine").identity() == DetectorConfig().identity()
    assert (DetectorConfig(alias="mine").label, padim.label) == ("mine", "padim-lite0")
    efficient = DetectorConfig(name="efficient_ad")
    assert efficient.label == "efficient_ad-lite0"
    assert efficient.identity()["backbone_sha256"] == DetectorConfig().identity()["backbone_sha256"]
    assert len({padim, DetectorConfig(name="padim", args={"n_features": 50}), efficient}) == 2


def test_the_doors_types_and_the_identity_import_nothing_heavy() -> None:
    program = (
        "import sys; from goodshot.components.detectors import DetectorConfig; DetectorConfig().identity();"
        "import goodshot.components.metrics.detection, goodshot.components.metrics.summary;"
        "print([m for m in ('torch', 'anomalib', 'sklearn', 'scipy', 'timm') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_table_for_laptops_is_that_of_the_installed_anomalib() -> None:
    """Where anomalib is not installed, a study to submit is checked by it."""
    assert json.loads(TABLE.read_text()) == json.loads(json.dumps({n: asdict(m) for n, m in models().items()}))
