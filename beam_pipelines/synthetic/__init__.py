"""The embedded default log: a synthetic world of listeners, since the paper's data are private.

Results on it compare models with each other only, never with the numbers of the paper. It is
calibrated to what the paper publishes about its data (§3 and §4), and is no instance of any model
that is evaluated on it: users' states are discrete (spells of days, moods, tracks found and faded),
there is no vector, and no recurrence on one, anywhere in it.

The modules follow the data: `catalogue`, `contexts` → `users` → `interests` → `timetable` →
`programme` → `tracks` → `listening` → `writing`; `playlists` needs the catalogue only, and `log`
calls them all.
"""

from beam_pipelines.synthetic.config import SyntheticConfig
from beam_pipelines.synthetic.log import synthesize

__all__ = ["SyntheticConfig", "synthesize"]
