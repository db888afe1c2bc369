"""What each number means, with its formula."""

from typing import Final

from experiments.reporting.document import Definition, Definitions, Section
from experiments.reporting.models import LEVEL

_PAPER: Final = (
    Definition(
        "paper",
        "The paper",
        (
            "C. Hansen, C. Hansen, L. Maystre, R. Mehrotra, B. Brost, F. Tomasi, M. Lalmas: "
            "Contextual and Sequential User Embeddings for Large-Scale Music Recommendation, "
            "RecSys 2020. It asks what a user will want to hear when a session begins. Numbers of "
            "figures and tables, and §, are the paper's.",
        ),
        ("[Tt]he paper",),
        "https://dl.acm.org/doi/10.1145/3383313.3412248",
    ),
    Definition(
        "cosernn",
        "CoSeRNN",
        (
            "The paper's model: an RNN over past sessions and the context gives an offset, which "
            "attention adds to the mean of what the user played.",
        ),
        ("CoSeRNN",),
    ),
    Definition(
        "jodie",
        "JODIE",
        (
            "Kumar, Zhang, Leskovec, KDD 2019: the state of an RNN, projected by the time that "
            "has passed since; the paper's strongest rival.",
        ),
        ("JODIE",),
    ),
    Definition(
        "rrn",
        "RRN",
        (
            "Wu, Ahmed, Beutel, Smola, Jing, WSDM 2017: the state of an LSTM, added to an "
            "embedding that is learnt for each user.",
        ),
        ("RRN",),
    ),
    Definition(
        "latent_cross",
        "LatentCross",
        (
            "Beutel, Covington, Jain, Xu, Li, Gatto, Chi, WSDM 2018: the state of a GRU, each "
            "number of it scaled by the context. All three as the paper adapts them (§6.1).",
        ),
        ("LatentCross",),
    ),
    Definition(
        "encore",
        "Encore",
        (
            "This project's own, not in the paper: attention looks up those of the last 200 "
            "sessions that are like the one that begins, and adds up what was played in them.",
        ),
        ("Encore",),
    ),
    Definition(
        "loss",
        "Cosine loss, ranking loss",
        (
            "What training makes small: the distance of prediction and target alone, as in the "
            "paper, or with it the mistakes in ranking sessions and tracks, as for Encore unless "
            "its name says otherwise.",
        ),
        ("cosine loss", "ranking loss"),
    ),
)

_ENTRIES: Final = (
    Definition(
        "target",
        "Session, target, prediction",
        (
            "A session is a user's consecutive listens with less than 20 minutes of inactivity "
            "between them. Its target s⁺ is the mean of the embeddings of the tracks that were "
            "played and not skipped, scaled to length 1. A model predicts a vector u of length 1 "
            "from all that happened before the session, and from the session's context.",
        ),
        ("target", "[Tt]he prediction itself"),
    ),
    Definition(
        "cosine",
        "Cosine",
        ("uᵀ s⁺, from −1 to 1. Its mean is over all scored sessions.",),
        ("cosine(?! loss)",),
    ),
    Definition(
        "sessions",
        "Session ranking: MRR and rank",
        (
            "The session is ranked by cosine with u among the user's K latest sessions: itself and "
            "the K − 1 before it. rank = 1 + candidates with a higher cosine + ½ · those with an "
            "equal one. MRR is the mean of 1 / rank. By chance the rank is (K + 1) / 2 on average.",
            "Scored where the user has K such sessions.",
        ),
        ("session ranking", "MRR", r"K(?=\s=)", "rank(?= at)"),
    ),
    Definition(
        "tracks",
        "Track ranking: mAP and Rec@10",
        (
            "The user's K most recent distinct tracks of earlier sessions are ranked by cosine "
            "with u; relevant ones, R of them, are those that the session contains. "
            "AP = 1/R · Σ over relevant tracks of (relevant tracks up to its place) / (its place). "
            "mAP is the mean of AP. Rec@10 = (relevant tracks among the first 10) / R.",
            "Tied tracks keep their order, the most recent first, but for a prediction of zero, "
            "which has the mean over all orders. Scored where there are K tracks and at least one "
            "is relevant, so it rewards repetition: what a user never heard is no candidate.",
        ),
        ("track ranking", "mAP", "Rec@10"),
    ),
    Definition(
        "retrieval",
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
        ("catalogue", "nDCG@10", "recall@100"),
    ),
    Definition(
        "lists",
        "What is in the lists",
        (
            "Of the k best tracks of all sessions: coverage is the share of all tracks that are in "
            "any list; the head are the tracks that have half of the listens in training, as few "
            "as it takes; rarity, also called novelty, is the mean of −log₂((1 + listens) / (all "
            "listens + tracks)), whoever listened; log popularity that of ln(1 + listens); Gini is "
            "0 if all tracks are listed as often, and near 1 if a few have everything.",
        ),
        ("[Rr]arity",),
    ),
    Definition(
        "heuristics",
        "Heuristics",
        (
            "Last, any or same context (cxt): s⁺ of the user's last session, or of the last in the "
            "same period of the day and on the same device. Avg: the mean of such sessions. "
            "Popularity: s⁺ of that past session of the user whose tracks were listened to most in "
            "the training split.",
        ),
        ("heuristics?", "cxt"),
    ),
    Definition(
        "oracles",
        "Oracles",
        (
            "They see the session that they predict: Oracle full its target, Oracle half that of "
            "half of its tracks. They bound what a single vector can reach.",
        ),
        ("oracles",),
    ),
    Definition(
        "seeds",
        "Seeds",
        (
            "Runs that differ in the seed only are one model: a session's score is the mean of its "
            "runs' scores, ± is the standard deviation of the runs' means. Tests are of the mean "
            "scores; they do not count what seeds differ by.",
        ),
        ("seeds?",),
    ),
    Definition(
        "intervals",
        "95 % interval, users as clusters",
        (
            "Sessions of one user resemble each other, and tell less than as many independent "
            "ones. So whole users are drawn, with replacement, and the interval is that of the "
            "bootstrap of t, whose standard error has users as clusters.",
        ),
        ("draws whole users", "users as clusters"),
    ),
    Definition(
        "p",
        "p-values",
        (
            "Two-tailed, of the null that two models have the same mean. The t-test is paired over "
            "sessions, as in the paper; with users as clusters it is the share of resamples that "
            "differ from the mean by as many standard errors. The first is too small where "
            "sessions of a user resemble each other; the second decides here, where it was "
            "computed.",
        ),
        ("p(?= < 0.05)",),
    ),
    Definition(
        "holm",
        "Corrected p, measurable",
        (
            "Holm: the i-th smallest of n p-values is multiplied by n − i + 1, and none is below "
            "the one before. The n tests are those of a model against all others by all metrics. "
            "Two models that can be deployed have two such corrected p-values, of which the larger "
            f"holds. A difference is measurable if it is below {LEVEL:g}.",
        ),
        ("Holm's correction", "[Mm]easurably"),
    ),
    Definition(
        "effect",
        "Cohen's d, design effect",
        (
            "d = mean difference / standard deviation of the differences over sessions. The design "
            "effect is the variance of the mean difference with users as clusters, divided by that "
            "with independent sessions.",
        ),
        ("design effect",),
    ),
    Definition(
        "attention",
        "Attention on the offset, β̂",
        (
            "CoSeRNN and its like fuse what the RNN predicts, the offset, with the user's "
            "long-term mean: u ∝ β̂ û + β̄ ū, with β̂ + β̄ = 1 (§5.1.4).",
        ),
        ("[Aa]ttention on the offset",),
    ),
    Definition(
        "groups",
        "Groups",
        (
            "Earlier sessions are the user's before the session, in any split. Days count from the "
            "end of the training split to the session's start. Activity is the number of the "
            "user's sessions in the training split. Age is in the buckets that models are told.",
        ),
        (),
    ),
    Definition(
        "gain",
        "Gain by attention",
        (
            "gain = cosine of the model − cosine of the long-term mean alone. Spearman's "
            "correlation is that of the ranks of β̂ and gain over sessions with history.",
        ),
        ("Spearman's correlation",),
    ),
    Definition(
        "costs",
        "Training minutes, sessions/s",
        (
            "Minutes are of all epochs with their validation, up to the one after which training "
            "was stopped. Sessions a second are of the median epoch, padding not counted. Finding "
            "nearest tracks is one search for 100 of them in the run's index, the median of many, "
            "measured when the index was built; the model's own computation is not in it.",
        ),
        ("nearest tracks",),
    ),
)


def definitions_section() -> Section:
    return Section("definitions", "Definitions", (), (Definitions((*_PAPER, *_ENTRIES)),))
