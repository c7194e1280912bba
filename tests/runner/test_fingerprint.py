"""Identity: equal meaning, equal digits; anything else raises or differs."""

import numpy as np
import pytest

from goodshot.runner.store.fingerprint import fingerprint


def test_pinned() -> None:
    """If this changes, every artifact that anyone has stored is orphaned."""
    found = fingerprint("stage", 1, {"λ": 0.5, "n": [1, None, True]}, {"image": "ab"})
    assert found == "8e8435bde702472f4ad7810869822aae97e47bdbb0249cddcb76aec203edf922"


def test_order_of_keys_does_not_count_but_types_do() -> None:
    base = fingerprint("s", 1, {"a": 1, "b": 2}, {})
    assert fingerprint("s", 1, {"b": 2, "a": 1}, {}) == base
    assert fingerprint("s", 1, {"a": 1.0, "b": 2}, {}) != base
    assert fingerprint("s", 1, {"a": True, "b": 2}, {}) != base
    assert fingerprint("s", 2, {"a": 1, "b": 2}, {}) != base


@pytest.mark.parametrize("value", [object(), {1, 2}, np.float64(1), len, b"x", {1: 2}])
def test_what_has_no_canonical_form_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match=r"stage\.config\.deep\.x"):
        fingerprint("stage", 1, {"deep": {"x": value}}, {})


def test_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        fingerprint("stage", 1, {"x": float("nan")}, {})
