"""What all users share about contexts: when people listen, on what, and what a context asks for.

Periods are those of §4.1. A context is an hour, a kind of day and a device.
"""

from typing import Final

import numpy as np

from beam_pipelines.synthetic.catalogue import TRAITS
from cosernn_tf.schema import DEVICES, HOURS, PERIOD_OF_HOUR, PERIODS

LISTENING_DEVICES: Final = ("mobile", "desktop", "speaker", "web", "tablet")
DEVICE_ROWS: Final = np.array([DEVICES.index(device) for device in LISTENING_DEVICES])
MOBILE: Final = LISTENING_DEVICES.index("mobile")

# Rows: periods (night, early morning, morning, afternoon, evening, late evening).
# §4.1: 46.4 % of sessions are outside afternoon and evening. Sessions that follow each other
# closely push one another later, so these shares are those before that happens.
PERIOD_SHARES: Final = np.array([0.036, 0.076, 0.132, 0.291, 0.273, 0.192])
_WEEKEND_PERIODS = np.array([1.5, 0.45, 0.95, 1.1, 1.0, 1.15])
_WEEKDAY_PERIODS = np.array([0.8, 1.25, 1.02, 0.96, 1.0, 0.94])
# fmt: off
_HOUR_IN_PERIOD = np.array([
    0.9, 1.6, 0.9, 0.5, 0.4, 0.6,  # the hour from midnight is the last of late evening
    0.7, 1.1, 1.2, 1.0, 0.95, 1.05, 1.05, 1.0, 0.9, 0.95, 1.1,
    1.15, 1.1, 0.95, 0.8, 1.2, 1.0, 0.9,
])
# fmt: on


def hour_weights() -> np.ndarray:
    """(2, 24) sessions by local hour on weekdays and at weekends, means over a week sum to 1."""
    in_period = _HOUR_IN_PERIOD / np.bincount(PERIOD_OF_HOUR, _HOUR_IN_PERIOD)[PERIOD_OF_HOUR]
    by_period = np.stack([_WEEKDAY_PERIODS, _WEEKEND_PERIODS]) * PERIOD_SHARES
    weights: np.ndarray = by_period[:, PERIOD_OF_HOUR] * in_period
    return weights


# Weight of each device for a user who owns it, beside mobile's 1.
_DEVICE_BY_PERIOD = np.array(
    [  # night, early morning, morning, afternoon, evening, late evening
        [1.0, 1.0, 1.0, 1.0, 1.0, 1.0],
        [0.7, 0.3, 1.8, 1.4, 0.6, 0.5],
        [0.6, 0.8, 0.7, 0.6, 1.6, 1.3],
        [0.6, 0.3, 1.6, 1.4, 0.7, 0.5],
        [1.2, 0.7, 0.6, 0.6, 1.1, 1.8],
    ]
)
_DEVICE_AT_WEEKEND = np.array([1.0, 0.45, 1.8, 0.5, 1.3])


def device_weights(hour: np.ndarray, is_weekend: np.ndarray) -> np.ndarray:
    """(n, devices) how much each device suits the time."""
    weekend = np.where(is_weekend[:, None], _DEVICE_AT_WEEKEND, 1.0)
    weights: np.ndarray = _DEVICE_BY_PERIOD[:, PERIOD_OF_HOUR[hour]].T * weekend
    return weights


# What contexts ask for, in log-odds per unit of a trait. Afternoons, evenings and mobiles ask for
# the mainstream; elsewhere people differ (`HABIT_SIGMA_*`): music varies more over users (Fig. 2a).
_PERIOD_DEMANDS = np.array(
    [  # energy, calm, focus, party, mainstream
        [-0.4, 0.5, 0.2, 0.0, -1.0],  # night
        [1.0, -0.2, -0.2, -0.5, -0.9],  # early morning
        [0.2, -0.2, 0.8, -0.5, -0.6],  # morning
        [0.1, -0.6, 0.2, 0.1, 1.5],  # afternoon
        [0.2, -0.4, -0.7, 0.6, 1.7],  # evening
        [-0.6, 0.8, -0.3, 0.2, -0.3],  # late evening
    ]
)
_WEEKEND_DEMANDS = np.array([0.2, 0.2, -1.8, 1.4, 0.4])
_DEVICE_DEMANDS = np.array(
    [
        [0.1, -0.1, -0.1, 0.0, 0.5],  # mobile
        [0.0, 0.1, 0.8, -0.4, -1.2],  # desktop
        [0.1, 0.3, -0.6, 0.0, -2.0],  # speaker
        [0.3, 0.0, 0.5, -0.2, -1.4],  # web
        [-0.4, 0.7, 0.1, -0.2, -1.2],  # tablet
    ]
)
HABIT_SIGMA_BY_PERIOD: Final = np.array([0.55, 0.5, 0.45, 0.25, 0.25, 0.4])
HABIT_SIGMA_BY_DEVICE: Final = np.array([0.15, 0.5, 0.75, 0.7, 0.7])
"""Spread over users of what each context means to them, in log-odds of a taste."""


def demands(hour: np.ndarray, is_weekend: np.ndarray, device: np.ndarray) -> np.ndarray:
    """(n, traits) log-odds of a trait in each of n contexts, smooth over the hours."""
    by_hour = _PERIOD_DEMANDS[PERIOD_OF_HOUR]
    smooth = 0.5 * by_hour + 0.25 * (np.roll(by_hour, 1, axis=0) + np.roll(by_hour, -1, axis=0))
    asked: np.ndarray = (
        smooth[hour] + is_weekend[:, None] * _WEEKEND_DEMANDS + _DEVICE_DEMANDS[device]
    )
    return asked


assert _PERIOD_DEMANDS.shape == (len(PERIODS), len(TRAITS))
assert _HOUR_IN_PERIOD.shape == (HOURS,)
