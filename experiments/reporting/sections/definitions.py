"""What each number means, with its formula."""

from experiments.reporting.document import Facts, Section
from experiments.reporting.models import LEVEL

_ENTRIES = (
    (
        "Session, target, prediction",
        (
            "A session is a user's consecutive listens with less than 20 minutes of inactivity "
            "between them. Its target s⁺ is the mean of the embeddings of the tracks that were "
            "played and not skipped, scaled to length 1. A model predicts a vector u of length 1 "
            "from all that happened before the session, and from the session's context.",
        ),
    ),
    ("Cosine", ("uᵀ s⁺, from −1 to 1. Its mean is over all scored sessions.",)),
    (
        "Session ranking: MRR and rank",
        (
            "The session is ranked by cosine with u among the user's K latest sessions: itself and "
            "the K − 1 before it. rank = 1 + candidates with a higher cosine + ½ · those with an "
            "equal one. MRR is the mean of 1 / rank. By chance the rank is (K + 1) / 2 on average.",
            "Scored where the user has K such sessions.",
        ),
    ),
    (
        "Track ranking: mAP and Rec@10",
        (
            "The user's K most recent distinct tracks of earlier sessions are ranked by cosine "
            "with u; relevant ones, R of them, are those that the session contains. "
            "AP = 1/R · Σ over relevant tracks of (relevant tracks up to its place) / (its place). "
            "mAP is the mean of AP. Rec@10 = (relevant tracks among the first 10) / R.",
            "Tied tracks keep their order, the most recent first. Scored where there are K tracks "
            "and at least one is relevant, so it rewards repetition: what a user never heard is no "
            "candidate.",
        ),
    ),
    (
        "Retrieval from the catalogue",
        (
            "All tracks with an embedding are ranked by cosine with u; relevant ones, R of them, "
            "are those that the session contains: all of them, those that the user had listened "
            "to before (repeated), or the others (new). Recall@k = (relevant among the k best) / "
            "R. Hit@k = 1 if any is among them. nDCG@k = Σ 1 / log₂(1 + place) over relevant "
            "tracks up to place k, divided by the largest such sum that R tracks can have. MRR@100 "
            "is the mean of 1 / (place of the first relevant track), 0 beyond place 100.",
            "Tracks with equal cosines stand in any order with the same probability, and each "
            "metric is its expectation.",
        ),
    ),
    (
        "What is in the lists",
        (
            "Of the k best tracks of all sessions: coverage is the share of all tracks that are in "
            "any list; the head are the tracks that have half of the listens in training, as few "
            "as it takes; novelty is the mean of −log₂((1 + listens) / (all listens + tracks)); "
            "log popularity that of ln(1 + listens); Gini is 0 if all tracks are listed as often, "
            "and near 1 if a few have everything.",
        ),
    ),
    (
        "Heuristics",
        (
            "Last, any or same context: s⁺ of the user's last session (of the same period of the "
            "day and device). Avg: their mean. Popularity: s⁺ of that past session of the user "
            "whose tracks were listened to most in the training split.",
        ),
    ),
    (
        "Oracles",
        (
            "They see the session that they predict: Oracle full its target, Oracle half that of "
            "half of its tracks. They bound what a single vector can reach.",
        ),
    ),
    (
        "Seeds",
        (
            "Runs that differ in the seed only are one model: a session's score is the mean of its "
            "runs' scores, ± is the standard deviation of the runs' means. Tests are of the mean "
            "scores; they do not count what seeds differ by.",
        ),
    ),
    (
        "95 % interval, users as clusters",
        (
            "Sessions of one user resemble each other, and tell less than as many independent "
            "ones. So whole users are drawn, with replacement, and the interval is that of the "
            "bootstrap of t, whose standard error has users as clusters.",
        ),
    ),
    (
        "p-values",
        (
            "Two-tailed, of the null that two models have the same mean. The t-test is paired over "
            "sessions, as in the paper; with users as clusters it is the share of resamples that "
            "differ from the mean by as many standard errors. The first is too small where "
            "sessions of a user resemble each other; the second decides here, where it was "
            "computed.",
        ),
    ),
    (
        "Corrected p, measurable",
        (
            "Holm: the i-th smallest of n p-values is multiplied by n − i + 1, and none is below "
            "the one before. The n tests are those of a model against all others by all metrics. A "
            f"difference is measurable if its corrected p-value is below {LEVEL:g}.",
        ),
    ),
    (
        "Cohen's d, design effect",
        (
            "d = mean difference / standard deviation of the differences over sessions. The design "
            "effect is the variance of the mean difference with users as clusters, divided by that "
            "with independent sessions.",
        ),
    ),
    (
        "Attention on the offset, β̂",
        (
            "CoSeRNN and its like fuse what the RNN predicts, the offset, with the user's "
            "long-term mean: u ∝ β̂ û + β̄ ū, with β̂ + β̄ = 1 (§5.1.4).",
        ),
    ),
    (
        "Groups",
        (
            "Earlier sessions are the user's before the session, in any split. Days count from the "
            "end of the training split to the session's start. Activity is the number of the "
            "user's sessions in the training split. Age is in the buckets that models are told.",
        ),
    ),
    (
        "Gain by attention",
        (
            "gain = cosine of the model − cosine of the long-term mean alone. Spearman's "
            "correlation is that of the ranks of β̂ and gain over sessions with history.",
        ),
    ),
    (
        "Training minutes, sessions/s",
        (
            "Minutes are of all epochs with their validation, up to the one after which training "
            "was stopped. Sessions a second are of the median epoch, padding not counted.",
        ),
    ),
)


def definitions_section() -> Section:
    return Section("definitions", "Definitions", (), (Facts(_ENTRIES),))
