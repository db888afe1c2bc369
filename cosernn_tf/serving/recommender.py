"""Recommends tracks for sessions that are about to start, as listens come in (§7)."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from cosernn_tf.config import require
from cosernn_tf.dataset import read_shards, read_user
from cosernn_tf.models.stepping import SESSIONS
from cosernn_tf.retrieval.index import open_index
from cosernn_tf.retrieval.track_index import TrackIndex
from cosernn_tf.runs import INDEX
from cosernn_tf.schema import DAYS_OF_WEEK
from cosernn_tf.serving.answers import (
    FromLog,
    PastSession,
    Prediction,
    Recommendation,
    RecommendRequest,
)
from cosernn_tf.serving.carrier import Carrier
from cosernn_tf.serving.contexts import ContextColumns, ContextReader
from cosernn_tf.serving.history import past_sessions
from cosernn_tf.serving.listens import Context, Listen, Outcome
from cosernn_tf.serving.logged import LoggedSessions, gap_of, in_parts
from cosernn_tf.serving.ranking import NO_ROWS, Ranker
from cosernn_tf.serving.settle import Catalogue, Settler
from cosernn_tf.serving.step_model import Outputs, StepModel
from cosernn_tf.serving.store import MemoryStore, StateStore
from cosernn_tf.serving.users import Users
from cosernn_tf.serving.work import MODEL, SEARCH, Work
from cosernn_tf.table import SessionTable, in_blocks
from cosernn_tf.trained_run import TrainedRun, open_trained_run
from cosernn_tf.workspace import Workspace

_SESSIONS_PER_BLOCK: Final = 200_000


class Recommender:
    """Answers for any user with one run, in a time that does not grow with the user's history.

    What precedes users' next sessions is in memory, of at most `max_users` users; all of it is in
    the store first. One thread at a time may call it.
    """

    def __init__(
        self,
        run: TrainedRun,
        index: TrackIndex,
        *,
        store: StateStore | None = None,
        max_users: int = 100_000,
    ) -> None:
        """Takes an opened run, its index, and a store of its generation; by default in memory."""
        self.run = run
        self.index = index
        self.store: StateStore = MemoryStore() if store is None else store
        self.gap_seconds = gap_of(run.sessions)
        self._carrier = Carrier(StepModel(run.model))
        vocabulary = run.sessions.tracks["track_id"]
        self.track_ids: pa.StringArray = index.track_ids(vocabulary).combine_chunks()
        self._track_ids: list[str] = self.track_ids.to_pylist()
        self._catalogue = Catalogue(
            {track: row for row, track in enumerate(self._track_ids)},
            index.vectors_of,
            {name: row for row, name in enumerate(run.sessions.stream_sources)},
        )
        self._contexts = ContextReader(run)
        self._rank = Ranker(index, self._track_ids)
        settler = Settler(self._carrier, self._catalogue, gap_seconds=self.gap_seconds)
        self._users = Users(self._carrier, settler, self.store, max_users=max_users)

    @classmethod
    def open(
        cls,
        workspace: Workspace,
        run: str,
        *,
        store: StateStore | None = None,
        max_users: int = 100_000,
    ) -> "Recommender":
        """Opens a finished run and its index.

        Args:
            workspace: Where it is.
            run: Its name.
            store: Of its generation (`generation.generation_of`); None: in memory.
            max_users: In memory.

        Raises:
            UserError: There is no such run or no index of it, or the workspace holds other data.
        """
        trained = open_trained_run(workspace, run)
        index = open_index(trained.path / INDEX, trained.embeddings)
        return cls(trained, index, store=store, max_users=max_users)

    @property
    def bytes_per_user(self) -> int:
        """Of memory that the records of a user take, open listens and heard tracks aside."""
        return 2 * self._carrier.dtype.itemsize

    @property
    def work(self) -> Work:
        """What it has done so far."""
        return self._users.work

    @property
    def users_in_memory(self) -> int:
        return len(self._users)

    def knows_track(self, track: str) -> bool:
        """Whether the vocabulary has it, or it was added to the index."""
        return track in self._catalogue.row_of_track

    # What users have listened to -----------------------------------------------------------------

    def bootstrap(self) -> None:
        """Puts the users of the workspace's session sequences into the store, if it lacks any."""
        if self.store.is_complete():
            return
        sessions = self.run.sessions
        total = sum(shard.sessions for shard in sessions.manifest.shards)
        with tqdm(total=total, desc="states of users", unit="session") as bar:
            for table in in_blocks(read_shards(sessions), max_sessions=_SESSIONS_PER_BLOCK):
                self.take_in(table)
                bar.update(table.num_sessions)
        self.store.complete()

    def warm_up(self, batch: int = 1) -> None:
        """Does once what TensorFlow takes long for at first use; it leaves nothing behind.

        Args:
            batch: Number of requests that are likely to come together.
        """
        device = self.run.sessions.devices[0]
        context = Context(datetime.fromtimestamp(0, UTC), device)
        for size in {1, batch}:
            self.recommend_many([RecommendRequest("", context, 1)] * size)
            columns = self._contexts.columns([context] * size)
            records = self._carrier.new(size)
            ids = np.full(size, b"", object)
            starts = columns.after(records, gap_seconds=self.gap_seconds)
            self._carrier.stepped(records, ids, starts)

    def take_in(self, table: SessionTable, *, before: int | None = None) -> None:
        """Puts users with their sessions of the log into the store.

        Args:
            table: Of session sequences; none of its users is in memory.
            before: UTC second; sessions that start then or later are left out. None: none are.
        """
        for part in in_parts(table):
            self._users.take_in(self._logged(part), before=before)

    def _logged(self, table: SessionTable) -> LoggedSessions:
        return LoggedSessions(table, self.run.embeddings.vectors, gap_seconds=self.gap_seconds)

    def observe(self, listen: Listen) -> Outcome:
        """Takes in a listen; it is in the store when this returns."""
        return self.observe_many([listen])[0]

    def observe_many(self, listens: Sequence[Listen]) -> list[Outcome]:
        """Takes in listens of any users, in any order, and says what became of each.

        The RNN steps once a session, when its first listen comes. The listens of a user's open
        session may come in any order; what could have changed a session before is late.
        """
        return self._users.observe(listens)

    def history(
        self, user: str, last: int, *, listens: Sequence[Listen] | None = None
    ) -> tuple[PastSession, ...]:
        """At most so many of the latest sessions of a user, the oldest of them first.

        Args:
            user: Any.
            last: How many.
            listens: Of the user, as the store has them; any thread may call it then, as it reads
                files only. None: they are read.
        """
        return past_sessions(
            user,
            last,
            sessions=self.run.sessions,
            track_ids=self._track_ids,
            listens=self.store.listens(user) if listens is None else listens,
            gap_seconds=self.gap_seconds,
        )

    # What they will listen to --------------------------------------------------------------------

    def predict(self, user: str, context: Context) -> Prediction:
        """The user embedding for a session that is about to start; it changes no state.

        An open session counts as ended. A user without history, also one that nobody has heard of,
        is predicted from age and context.

        Raises:
            UserError: An unknown device or stream source, a stream source that the run does not
                ask for, or a time without offset.
        """
        return self.predict_many([user], [context])[0]

    def predict_many(self, users: Sequence[str], contexts: Sequence[Context]) -> list[Prediction]:
        """The same of several at once, a context for each user."""
        found: list[Prediction] = []
        size = self._users.max_users
        for start in range(0, len(users), size):
            part = slice(start, start + size)
            found += self._predict(users[part], contexts[part])
        return found

    def _predict(self, users: Sequence[str], contexts: Sequence[Context]) -> list[Prediction]:
        columns = self._contexts.columns(contexts)
        records = self._users.current(users, columns.second)
        ids = np.array([user.encode("utf-8", "surrogatepass") for user in users], object)
        with self.work.timed(MODEL):
            outputs = self._outputs(ids, columns, records)
        return [
            Prediction(
                outputs.embeddings[row],
                None if outputs.attention is None else outputs.attention[row],
                int(records[SESSIONS][row]),
            )
            for row in range(len(users))
        ]

    def _outputs(self, users: np.ndarray, contexts: ContextColumns, records: np.ndarray) -> Outputs:
        starts = contexts.after(records, gap_seconds=self.gap_seconds)
        return self._carrier.predict(records, users, starts)

    def recommend(
        self, user: str, context: Context, k: int = 10, *, exclude_heard: bool = False
    ) -> Recommendation:
        """The k tracks nearest to the user embedding predicted for a session.

        Args:
            user: Any.
            context: Of the session.
            k: Number of tracks.
            exclude_heard: See `RecommendRequest`.

        Raises:
            UserError: As `predict`, or k is out of range.
        """
        return self.recommend_many([RecommendRequest(user, context, k, exclude_heard)])[0]

    def recommend_many(self, requests: Sequence[RecommendRequest]) -> list[Recommendation]:
        """The same of several requests, by one step of the model and one search.

        Raises:
            UserError: As `recommend`, if one of them is wrong.
        """
        for request in requests:
            self.check(request)
        users, contexts = ([getattr(r, name) for r in requests] for name in ("user", "context"))
        return self._answers(requests, self.predict_many(users, contexts))

    def recommend_from_log(self, user: str, context: Context, k: int = 10) -> Recommendation:
        """What would have been recommended then: of the log, from the sessions that started before.

        Listens that were observed have no say, and nothing is kept.

        Raises:
            UserError: As `recommend`, or the log has no such user.
        """
        request = RecommendRequest(user, context, k)
        self.check(request)
        table = read_user(self.run.sessions, user)
        ((_, found),) = self.from_log(table, [context])
        attention = None if found.attention is None else found.attention[0]
        sessions = int(found.records[SESSIONS][0])
        return self._answers([request], [Prediction(found.embeddings[0], attention, sessions)])[0]

    def from_log(
        self, table: SessionTable, contexts: Sequence[Context]
    ) -> Iterator[tuple[int, FromLog]]:
        """Predictions for the users of a table in each context, from what they heard before.

        Args:
            table: Of session sequences.
            contexts: In any order.

        Yields:
            The number of a context, each once, and of all users what was found.
        """
        columns = self._contexts.columns(contexts)
        logged = self._logged(table)
        records = logged.new(self._carrier)
        done = np.zeros(table.num_users, np.int64)
        for number in np.argsort(columns.second, kind="stable").tolist():
            until = logged.number_before(int(columns.second[number]))
            logged.carry(self._carrier, records, done, until)
            done = until
            of_all = columns.take(np.full(table.num_users, number))
            outputs = self._outputs(table.user_id, of_all, records)
            yield number, FromLog(outputs.embeddings, outputs.attention, records)

    def _answers(
        self, requests: Sequence[RecommendRequest], predictions: Sequence[Prediction]
    ) -> list[Recommendation]:
        exclude = None
        if any(request.exclude_heard for request in requests):
            exclude = [self._heard(r.user) if r.exclude_heard else NO_ROWS for r in requests]
        with self.work.timed(SEARCH):
            tracks = self._rank(requests, predictions, exclude=exclude)
        days, hours = self._contexts.local([request.context for request in requests])
        return [
            Recommendation(
                user=request.user,
                run=self.run.path.name,
                at=request.context.at.isoformat(),
                device=request.context.device,
                day_of_week=DAYS_OF_WEEK[days[number]],
                hour=int(hours[number]),
                earlier_sessions=prediction.earlier_sessions,
                long_term_attention=(
                    None if prediction.attention is None else float(prediction.attention[1])
                ),
                tracks=tracks[number],
            )
            for number, (request, prediction) in enumerate(zip(requests, predictions, strict=True))
        ]

    def check(self, request: RecommendRequest) -> None:
        """Raises `UserError`, as `recommend` does, if the request is wrong."""
        self.check_context(request.context, request.k)

    def check_context(self, context: Context, k: int) -> None:
        """The same of any user."""
        tracks = self.index.size
        require(k >= 1, f"k={k} must be at least 1")
        require(k <= tracks, f"k={k} is more than the {tracks} tracks that have an embedding")
        self._contexts.check(context)

    def _heard(self, user: str) -> np.ndarray:
        """(n,) int64 rows of the track vocabulary."""
        rows, listens = self._users.heard(user)
        now = self._catalogue.track_rows([listen.track_id for listen in listens])
        return np.concatenate([rows, now[now >= 0]])
