"""The inverse of an order."""

import numpy as np
import pytest

from cosernn_tf.permutations import inverse


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_the_inverse_tells_the_place_of_each_row(dtype):
    rows = np.random.default_rng(0).permutation(50)
    place = inverse(rows, dtype)
    assert place.dtype == dtype
    assert place.tolist() == [rows.tolist().index(row) for row in range(50)]
    assert len(inverse(rows[:0])) == 0
