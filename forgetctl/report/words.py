"""The report's words."""

from __future__ import annotations

SYMBOLS = {
    "PASS": "✓",
    "FAIL": "✗",
    "INCONCLUSIVE": "?",
    "pass": "✓",
    "fail": "✗",
    "unknown": "?",
    "trace": "!",
    "reported": "·",
    "skipped": "–",
}
RESULTS = {
    "pass": "passed",
    "fail": "failed",
    "unknown": "open",
    "trace": "trace",
    "reported": "reported",
    "skipped": "skipped",
}
"""What each status of a check is called."""

MEANING = {
    "PASS": "Within limits that were fixed beforehand, the model treats the rows of the request like "
    "{yardstick}, and it kept what it had to keep.",
    "FAIL": "At least one test gives positive evidence against the model: that it still knows the rows or gives them "
    "away, was pushed below where a model that never saw them would be, or was damaged.",
    "INCONCLUSIVE": "The evidence shows neither that the rows are forgotten nor that they are not. "
    "This is not a PASS; the reasons say what would settle it.",
}
WEAKER = (
    "This is weaker evidence: the forget rows were compared with other rows that no model saw, not with what a model "
    "that never saw them makes of the same rows."
)

LIMITS = (
    "Unlearning by training is approximate. It is not certified deletion: no test from outside can show that "
    "every trace of the rows is gone.",
    "A test that finds no difference is no proof that there is none.",
    "The results hold for the prompts, languages and decoding settings that were tested. Other wordings, "
    "translations, later fine-tuning or quantization can bring rows back.",
    "Whoever holds the model from before and from after can compare them and may learn who asked. "
    "Publishing both undoes part of what was asked for.",
    "Only the model is covered: training data, logs, backups and earlier copies of the model are not.",
)

PUBLISHING = (
    "If the model from before is public or was handed out, publishing this one too may reveal who asked to be "
    "forgotten: whoever has both can compare them."
)

KEPT_ADAPTER = (
    "The adapter was kept, too. It protects nobody by itself: the base model alone still knows the rows, wherever it "
    "is served without the adapter or can be. And whoever has this model and the adapter can take one off the other, "
    "which leaves the model from before."
)

DISTRIBUTIONS = {
    "truth_ratio": "Truth ratio of the forget rows",
    "answer_logp": "Answer log-probability of the forget rows",
}

EXCLUDED = {
    "forget_rows": "the forget rows themselves",
    "near_duplicates": "near duplicates of forget rows",
    "holding_secrets": "rows that hold a named secret",
    "conversations": "other turns of conversations that hold forget rows",
}

SEAL = (
    (
        "forgetctl seal RUN --key KEY",
        "The owner of the model seals the run with a private key. This writes RUN.bundle: the records behind this "
        "report, the digest of each, and a signature over all of them. The bundle has the digests of the model's "
        "weight files, but not the weights.",
    ),
    (
        "forgetctl audit BUNDLE --key PUB",
        "Whoever gets the bundle checks it with the owner's public key. Every digest is computed again, and the "
        "verdict again from the stored scores. The exit code is 0 if the bundle is sound, 1 if it is broken, 2 if it "
        "is malformed and 3 if it is sound but does not meet the policy that was asked for.",
    ),
    (
        "forgetctl prove BUNDLE --row FILE --commit-key KEY",
        "Shows that a row was in the request. The row and the key of the commitments are the owner's and are not in "
        "the bundle; without the key a commitment tells nothing. The scores by row tell more: whoever has the start "
        "model too could test guesses against its scores.",
    ),
)
"""Commands around the sealed copy of a run, each with what it does."""
SEAL_LIMITS = (
    "The public key must come from somewhere else than the bundle: whoever changes a bundle can put another key beside "
    "it. This report itself is a rendering, which anybody who has it can change; what counts is the bundle."
)
