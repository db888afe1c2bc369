"""What the endpoint answers with; the models are the OpenAPI description of it."""

from pydantic import BaseModel, Field


class Error(BaseModel):
    """Why there is no answer: what is wrong, where, and what to do."""

    error: str


class Observed(BaseModel):
    """What became of the listens; all of them are stored when this is answered."""

    accepted: int
    duplicates: int = Field(description="Stored before, by user, track and timestamp.")
    late: int = Field(description="Of closed sessions: kept for the next sessionise job.")
    unknown_tracks: int = Field(description="Listens of tracks without a row in the vocabulary.")


class Track(BaseModel):
    """A recommended track."""

    rank: int
    track_id: str
    score: float


class Recommended(BaseModel):
    """Tracks for a session that is about to start."""

    user: str
    run: str
    at: str
    device: str
    day_of_week: str
    hour: int
    earlier_sessions: int = Field(description="0: the answer rests on age and context alone.")
    long_term_attention: float | None = Field(
        description="β, the weight of the long-term embedding against now; null if there is none."
    )
    tracks: list[Track]
    embedding: list[float] | None = Field(None, description="If asked for: 40 numbers.")


class Heard(BaseModel):
    """A track of a past session."""

    track_id: str | None = Field(description="Null: not in the vocabulary.")
    skipped: bool


class Past(BaseModel):
    """A past session."""

    start: int = Field(description="UTC seconds.")
    day_of_week: str
    hour: int
    device: str
    num_tracks: int = Field(description="Listens, of which the first 10 are given.")
    is_open: bool
    tracks: list[Heard]


class History(BaseModel):
    """A user's last sessions, the latest last."""

    user: str
    sessions: list[Past]


class Users(BaseModel):
    """A few user ids, for the page to begin with."""

    users: list[str]


class TrackMap(BaseModel):
    """The track space in two dimensions, by principal components of the track embeddings."""

    mean: list[float]
    components: list[list[float]] = Field(description="(2, 40)")
    explained: float = Field(description="Share of the variance, of the two together.")
    track_ids: list[str]
    points: list[list[float]] = Field(description="A place for each of the tracks.")


class Status(BaseModel):
    """How the server is."""

    status: str


class Reloaded(BaseModel):
    """The model that answers from now on."""

    run: str
    generation: str
    seconds: float
