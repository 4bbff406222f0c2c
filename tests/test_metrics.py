"""Scores against slow references, hand-computed traps, intervals against direct recomputation, and faults."""

import gzip
import json
import math
import random
from difflib import SequenceMatcher

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from legal_llm.machine.files import LegalLLMError
from legal_llm.scores.bootstrap import bootstrap, paired_bootstrap, without_nan
from legal_llm.scores.metrics import (
    average_precision,
    choose_threshold,
    coverage_scores,
    coverage_statistic,
    detection_scores,
    detection_statistic,
    similarity,
    similarity_statistic,
    similarity_tiers,
    span_scores,
    span_statistic,
    squad_scores,
    squad_statistic,
    squad_words,
    verbatim_rate,
    verbatim_statistic,
    word_f1,
)
from legal_llm.scores.official import (
    THRESHOLDS,
    Statistic,
    by_contract,
    official_curve,
    official_scores,
    official_statistic,
    plot_curves,
    split_id,
)
from legal_llm.scores.tables import (
    ScoreTable,
    all_scores,
    always_empty,
    load_gold,
    load_predictions,
    official_by_category,
    score_files,
    score_table,
)

NAN = float("nan")


# --- the slow reference: the official rules, one after the other, with loops -----------------------


def reference_words(text):
    kept = "".join(ch for ch in text if ch not in ".,;:")
    return set(kept.lower().replace("/", " ").split(" "))


def reference_match(question_id, g, p, parties):
    a, b = reference_words(g), reference_words(p)
    if len(a & b) / len(a | b) >= 0.5:
        return True
    return parties and "Parties" in question_id and g in p


def reference_counts(predictions, gold, c, parties=True):
    tp = fp = fn = 0
    for question_id in gold:
        last = {}
        for answer in predictions[question_id]:
            if answer["text"] != "":
                last[answer["text"]] = answer["probability"]
        kept = [text for text, p in last.items() if p > c]
        wanted = gold[question_id]
        if not wanted:
            fp += len(kept)
            continue
        for g in wanted:
            if any(reference_match(question_id, g, p, parties) for p in kept):
                tp += 1
            else:
                fn += 1
        for p in kept:
            if not any(reference_match(question_id, g, p, parties) for g in wanted):
                fp += 1
    return tp, fp, fn


def reference_points(predictions, gold):
    precisions, recalls = [1], [0]
    for c in list(np.arange(0.99, 0, -0.01)) + [0.001, 0]:
        tp, fp, fn = reference_counts(predictions, gold, c)
        precisions.append(tp / (tp + fp) if tp + fp else NAN)
        recalls.append(tp / (tp + fn) if tp + fn else NAN)
    envelope = list(precisions)
    for k in reversed(range(len(envelope) - 1)):
        envelope[k] = max(envelope[k + 1], envelope[k])
    return precisions, recalls, envelope


def reference_scores(predictions, gold):
    precisions, recalls, envelope = reference_points(predictions, gold)
    area = 0.0
    for k in range(1, len(recalls)):
        area += (recalls[k] - recalls[k - 1]) * (envelope[k] + envelope[k - 1]) / 2

    def at(r):
        for precision, recall in zip(envelope, recalls):
            if recall >= r:
                return precision
        return 0

    p, r = precisions[-1], recalls[-1]
    f1 = 2 * p * r / (p + r) if p + r > 0 else 0  # false for NaN too
    return {
        "aupr": 0 if math.isnan(area) else area,
        "precision_at_80_recall": at(0.8),
        "precision_at_90_recall": at(0.9),
        "precision": p,
        "recall": r,
        "f1": f1,
        "max_recall": r,
    }


def agree(a, b):
    assert set(b) <= set(a)
    for key in b:
        assert a[key] == pytest.approx(b[key], abs=1e-6, nan_ok=True), key


# --- random predictions of all shapes --------------------------------------------------------------

IDS = (
    "Harbour Lease__Parties",
    "Harbour Lease__Insurance",
    "Harbour Lease__Governing Law",
    "Parties to a Pact__Insurance",
    "Insurance Pool__Parties",
    "Insurance Pool__Governing Law",
    "Double__bar__Parties",
    "no bar",
    "Bare title__",
)
WORDS = st.sampled_from(
    [
        "seller",
        "Buyer",
        "and/or",
        "pay",
        "Pay.",
        "a,b",
        "law;",
        "10:30",
        "(new)",
        "İre",
        "é",
        "",
        ".",
        "\n",
        "the\ngoods",
        "x",
        "X",
        "/",
    ]
)
TEXTS = st.lists(st.tuples(WORDS, st.sampled_from([" ", " ", "  ", "\n", "/", ". ", ""])), max_size=6).map(
    lambda pairs: "".join(w + s for w, s in pairs)
)
PROBABILITIES = st.one_of(
    st.sampled_from(
        [0, 1, 0.0, 1.0, 0.5, 0.99, 0.98, 0.93, 0.57, 0.01, 0.001, 0.0005, 1e-300, -0.1, 1.5, NAN, float("inf")]
    ),
    st.sampled_from([float(c) for c in THRESHOLDS]),
    st.floats(0, 1),
)


@st.composite
def cases(draw, probabilities=PROBABILITIES):
    """Predictions and gold over the same ids, from a small pool of texts, so that matches, ties and duplicates are
    common.
    """
    pool = draw(st.lists(TEXTS, min_size=1, max_size=6))
    some = st.sampled_from(pool)
    ids = draw(st.lists(st.sampled_from(IDS), unique=True, min_size=1, max_size=6))
    gold = {i: draw(st.lists(some, max_size=3)) for i in ids}
    wide = st.one_of(some, some.map(lambda t: "said: " + t + " seller"), TEXTS)
    answers = st.lists(st.builds(lambda t, p: {"text": t, "probability": p}, wide, probabilities), max_size=5)
    return {i: draw(answers) for i in draw(st.permutations(ids))}, gold


@settings(max_examples=400, deadline=None)
@given(cases())
def test_official_scores_equal_the_reference(case):
    predictions, gold = case
    agree(official_scores(predictions, gold), reference_scores(predictions, gold))


@settings(max_examples=100, deadline=None)
@given(cases())
def test_official_curve_equals_the_reference(case):
    predictions, gold = case
    curve = official_curve(predictions, gold)
    for ours, theirs in zip((curve.precision, curve.recall, curve.envelope), reference_points(predictions, gold)):
        np.testing.assert_allclose(ours, np.array(theirs, float), atol=1e-9, equal_nan=True)
    assert len(curve.thresholds) == 102 and curve.thresholds[0] == math.inf


@settings(max_examples=150, deadline=None)
@given(cases(), PROBABILITIES.filter(lambda c: c >= 0))
def test_span_scores_equal_the_reference(case, threshold):
    predictions, gold = case
    tp, fp, fn = reference_counts(predictions, gold, threshold, parties=False)
    agree(
        span_scores(predictions, gold, threshold),
        {
            "precision": tp / (tp + fp) if tp + fp else NAN,
            "recall": tp / (tp + fn) if tp + fn else NAN,
            "f1": 2 * tp / (2 * tp + fp + fn) if tp else 0,
        },
    )


def invent(contracts, rng, categories=("Parties", "Insurance", "Governing Law", "Audit Rights"), skill=0.7):
    "A larger random case: gold spans of word salad and predictions that are cut copies, junk and duplicates."
    words = "seller buyer goods notice, term; law court: claim party/ies fee. audit year".split()

    def text():
        return rng.choice([" ", " ", "  "]).join(
            rng.choice(words) + str(rng.randrange(9)) for _ in range(rng.randint(1, 12))
        )

    gold = {
        f"Contract {k}__{c}": [text() for _ in range(rng.choice([0, 0, 1, 1, 3]))]
        for k in range(contracts)
        for c in categories
    }
    predictions = {}
    for i, texts in gold.items():
        found = [" ".join(t.split(" ")[rng.randint(0, 2) :]) for t in texts if rng.random() < skill] + [
            text() for _ in range(rng.randint(0, 3))
        ]
        predictions[i] = [
            {"text": t, "probability": round(rng.random(), rng.choice([1, 2, 9]))}
            for t in found + found[: rng.randint(0, 1)]
        ]
    return predictions, gold


@pytest.mark.parametrize("seed", range(6))
def test_official_scores_on_larger_cases(seed):
    predictions, gold = invent(25, random.Random(seed))
    scores = official_scores(predictions, gold)
    agree(scores, reference_scores(predictions, gold))
    assert 0 < scores["aupr"] < 1  # the case says something


def test_order_does_not_matter():
    rng = random.Random(4)
    predictions, gold = invent(10, rng)
    unique = {
        i: list({a["text"]: a for a in answers}.values()) for i, answers in predictions.items()
    }  # of duplicates the last counts: order matters there
    shuffled = {i: rng.sample(unique[i], len(unique[i])) for i in rng.sample(list(gold), len(gold))}
    assert official_scores(shuffled, dict(rng.sample(list(gold.items()), len(gold)))) == official_scores(unique, gold)


# --- traps, computed by hand -----------------------------------------------------------------------


def one(gold_text, found, question_id="Lease__Governing Law", probability=0.9):
    "Is this find right for this gold text?"
    return (
        official_scores({question_id: [{"text": found, "probability": probability}]}, {question_id: [gold_text]})[
            "recall"
        ]
        == 1
    )


def test_half_of_the_joint_words_is_enough():
    assert one("a b c d", "a b") and not one("a b c d e", "a b")  # 2/4, 2/5
    assert one("a b c", "a b c d e f") and not one("a b c", "a b c d e f g")  # 3/6, 3/7
    assert one("a a a b", "a b b")  # sets, not bags


def test_parties_exception():
    long = "by and between Tidewater Cranes of 4 Quay Road and others named below"
    assert one("Tidewater Cranes", long, "Lease__Parties")
    assert one("Tidewater Cranes", long, "Parties of the Pact__Insurance")  # anywhere in the id
    assert not one("Tidewater Cranes", long, "Lease__parties") and not one("Tidewater Cranes", long)
    assert not one("tidewater cranes", long, "Lease__Parties")  # raw strings
    # gold in find, not find in gold
    assert not one("by and between Tidewater Cranes of 4 Quay Road", "Tidewater", "Lease__Parties")
    case = {"Lease__Parties": [{"text": long, "probability": 0.9}]}, {"Lease__Parties": ["Tidewater Cranes"]}
    assert official_scores(*case)["f1"] == 1 and span_scores(*case)["f1"] == 0


def test_words_split_on_single_spaces_only():
    assert not one("a b", "a\nb")  # one glued word
    assert one("a/b", "A B") and one("a.b,c;d:e", "abcde") and not one("a-b", "a b") and not one("(a)", "a")
    assert one("a b", "a  b") and not one("a", "a  b c")  # {a, b} in {a, "", b}: 2/3; {a} in {a, "", b, c}: 1/4
    assert one("...", ";") and one("", ".")  # both are the one empty word


def test_no_gold_makes_every_find_false():
    scores = official_scores(
        {
            "A__Insurance": [{"text": "x", "probability": 0.9}, {"text": "y", "probability": 0.2}],
            "A__Term": [{"text": "z", "probability": 0.5}],
        },
        {"A__Insurance": [], "A__Term": ["z"]},
    )
    assert scores["precision"] == pytest.approx(1 / 3) and scores["recall"] == 1
    assert scores["aupr"] == pytest.approx(
        0.5
    )  # at .5 the find comes behind one false one; the envelope is .5 from recall 0 to 1 except at the start
    assert scores["precision_at_80_recall"] == 0.5 == scores["precision_at_90_recall"]


def test_strictly_above_and_zero_never_counts():
    def at(p):
        return (
            official_curve({"A__T": [{"text": "x", "probability": p}]}, {"A__T": ["x"]}).recall.tolist().index(1)
            if p
            else None
        )

    assert at(0.99) == 2 and at(0.991) == 1  # point 1 is threshold .99, point 2 is .98
    assert at(0.98) == 3 and at(0.93) == 7  # .98 is exact, but the threshold called .93 is .9299999999999999
    assert at(0.001) == 101 and at(0.0011) == 100
    for p in (0, 0.0, -1, NAN):
        scores = official_scores({"A__T": [{"text": "x", "probability": p}]}, {"A__T": ["x"]})
        assert scores["recall"] == 0 == scores["aupr"] and math.isnan(scores["precision"])


def test_equal_texts_count_once_with_the_last_probability():
    answers = [{"text": "x", "probability": 0.9}, {"text": "no", "probability": 0.5}, {"text": "x", "probability": 0.3}]
    scores = official_scores({"A__T": answers}, {"A__T": ["x"]})
    assert scores["aupr"] == pytest.approx(0.5) and scores["precision"] == 0.5  # the false extraction comes first
    assert official_scores({"A__T": answers[:2]}, {"A__T": ["x"]})["aupr"] == 1


def test_one_find_can_serve_two_gold_texts_and_two_finds_one():
    scores = official_scores({"A__T": [{"text": "a b c", "probability": 0.9}]}, {"A__T": ["a b c d", "a b"]})
    assert scores["recall"] == 1 == scores["precision"]
    scores = official_scores(
        {"A__T": [{"text": "a b", "probability": 0.9}, {"text": "a b c", "probability": 0.8}]}, {"A__T": ["a b c"]}
    )
    assert scores["recall"] == 1 == scores["precision"]
    assert official_scores({"A__T": []}, {"A__T": ["a", "a"]})["spans"] == 2  # equal gold texts count twice


def test_nothing_said_and_nothing_to_say():
    empty = official_scores(always_empty({"A__T": ["x"], "A__U": []}), {"A__T": ["x"], "A__U": []})
    assert (
        math.isnan(empty["precision"])
        and [empty[k] for k in ("recall", "f1", "aupr", "precision_at_80_recall", "max_recall")] == [0] * 5
    )
    vain = official_scores({"A__T": [{"text": "x", "probability": 0.5}]}, {"A__T": []})
    assert vain["precision"] == 0 and math.isnan(vain["recall"]) and vain["f1"] == 0 == vain["aupr"]
    assert without_nan(vain)["recall"] is None and without_nan(vain)["precision"] == 0


def test_a_hand_computed_curve():
    # finds in order of confidence: right .9, false .8, right .7, right .6, false .5; four gold texts, so recall ends at
    # .75
    answers = [{"text": t, "probability": p} for t, p in (("a", 0.9), ("q", 0.8), ("b", 0.7), ("c", 0.6), ("r", 0.5))]
    scores = official_scores({"A__T": answers}, {"A__T": ["a", "b", "c", "d"]})
    # envelope: 1 up to recall .25; at .25 it falls to 3/4 (reached at recall .75), and stays there
    assert scores["aupr"] == pytest.approx(0.25 + 0.5 * 0.75)
    assert (
        scores["precision"] == 0.6
        and scores["recall"] == 0.75 == scores["max_recall"]
        and scores["precision_at_80_recall"] == 0
    )


def test_category_names_inside_titles():
    gold = {
        "Insurance Pool__Term": ["x"],
        "Insurance Pool__Insurance": ["y"],
        "Lease__Insurance": ["z"],
        "Lease__Term": [],
    }
    predictions = {
        "Insurance Pool__Term": [],
        "Insurance Pool__Insurance": [{"text": "y", "probability": 0.9}],
        "Lease__Insurance": [{"text": "z", "probability": 0.8}],
        "Lease__Term": [],
    }
    rows = official_by_category(predictions, gold).rows
    assert (
        rows["Insurance"]["differs"]
        and rows["Insurance"]["own"]["recall"] == 1
        and rows["Insurance"]["official"]["recall"] == pytest.approx(2 / 3)
    )
    assert (rows["Insurance"]["official"]["questions"], rows["Insurance"]["own"]["questions"]) == (3, 2)
    assert not rows["Term"]["differs"] and rows["Term"]["own"]["recall"] == 0 == rows["Term"]["official"]["recall"]
    assert "official)" in official_by_category(predictions, gold)._repr_markdown_()
    json.dumps(official_by_category(predictions, gold).to_dict(), allow_nan=False)


@settings(max_examples=60, deadline=None)
@given(cases())
def test_categories_are_the_official_score_of_their_questions(case):
    predictions, gold = case
    for category, row in official_by_category(predictions, gold).rows.items():
        for way, chosen in (("official", lambda i: category in i), ("own", lambda i: split_id(i)[1] == category)):
            agree(row[way], reference_scores(predictions, {i: g for i, g in gold.items() if chosen(i)}))


# --- the other scores ------------------------------------------------------------------------------


def said(*pairs):
    return [{"text": t, "probability": p} for t, p in pairs]


def test_detection_by_hand():
    gold = {"A__T": ["x"], "A__U": [], "B__T": ["y"], "B__U": [], "B__V": ["z"]}
    predictions = {
        "A__T": said(("wrong words", 0.9)),
        "A__U": said(("x", 0.7), ("y", 0.6)),
        "B__T": said(("y", 0.5)),
        "B__U": [],
        "B__V": said(("", 0.99)),
    }
    scores = detection_scores(predictions, gold)
    assert (
        scores["precision"] == 0.5 and scores["recall"] == pytest.approx(1 / 3) and scores["f1"] == pytest.approx(0.4)
    )  # .5 is not above .5; "" is nothing
    assert scores["false_none_rate"] == pytest.approx(2 / 3)
    assert scores["average_precision"] == pytest.approx((1 + 2 / 3 + 3 / 5) / 3)  # the last two share confidence 0
    assert detection_scores(predictions, gold, 0.4)["recall"] == pytest.approx(2 / 3)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([0.0, 0.2, 0.5, 0.5000001, 1.0]), st.booleans(), st.integers(0, 3)), max_size=12)
)
def test_average_precision_takes_ties_together(items):
    confidence, positive, weight = (
        (np.array(x) for x in zip(*items)) if items else (np.zeros(0), np.zeros(0, bool), np.zeros(0))
    )
    total, area, before = sum(w for _, p, w in items if p), 0.0, 0.0
    for c in sorted({c for c, _, _ in items}, reverse=True):
        tp = sum(w for s, p, w in items if p and s >= c)
        n = sum(w for s, _, w in items if s >= c)
        if n and total:
            area += (tp / total - before) * tp / n
            before = tp / total
    assert average_precision(confidence, positive, weight[None].astype(float))[0] == pytest.approx(
        area if total else NAN, nan_ok=True
    )


def test_coverage_by_hand():
    gold = {"A__T": ["one  two", "three"], "A__U": ["four"], "A__V": [], "A__W": [], "A__X": ["six"]}
    predictions = {
        "A__T": said(("zero one\ntwo", 0.9), ("three!", 0.8)),
        "A__U": said(("fou", 0.9)),
        "A__V": said(("five", 0.9)),
        "A__W": [],
        "A__X": [],
    }
    assert coverage_scores(predictions, gold) == {
        "precision": 0.5,
        "recall": pytest.approx(1 / 3),
        "f1": pytest.approx(0.4),
    }
    assert coverage_scores(predictions, gold, 0.85)["recall"] == 0  # "three" is no longer among the extractions


def test_squad_by_hand():
    gold = {"A__T": ["The Seller's goods.", "twelve months"], "A__U": [], "A__V": [], "A__W": ["law of Ireland"]}
    predictions = {
        "A__T": said(("wrong", 0.6), ("sellers  GOODS", 0.9)),
        "A__U": [],
        "A__V": said(("x", 0.9)),
        "A__W": said(("the law", 0.9)),
    }
    scores = squad_scores(predictions, gold)
    assert scores["exact_match"] == 0.5 and scores["answerable_exact_match"] == 0.5
    assert scores["answerable_f1"] == pytest.approx((1 + 0.5) / 2) and scores["f1"] == pytest.approx(
        (1 + 1 + 0 + 0.5) / 4
    )
    assert squad_words("A cat, an owl & the  Theatre") == ["cat", "owl", "theatre"]
    assert (
        word_f1([], []) == 1 and word_f1([], ["x"]) == 0 and word_f1(["x", "x", "y"], ["x", "z"]) == pytest.approx(0.4)
    )
    # gold that normalises to nothing, as in SQuAD's script
    assert squad_scores({"A__T": []}, {"A__T": ["the", "."]})["exact_match"] == 1
    # and is dropped beside gold that does not
    assert squad_scores({"A__T": []}, {"A__T": ["the", "cat"]})["exact_match"] == 0
    assert squad_scores({"A__T": said(("cat", 0.5))}, {"A__T": ["cat"]})["exact_match"] == 0  # not above the threshold
    assert math.isnan(squad_scores({"A__T": []}, {"A__T": []})["answerable_f1"])


@settings(max_examples=200, deadline=None)
@given(st.text("ab c", max_size=25), st.text("ab c", max_size=25), st.sampled_from([0.0, 0.5, 0.9]))
def test_similarity_equals_sequence_matcher(a, b, floor):
    ratio = SequenceMatcher(None, a, b, autojunk=False).ratio()
    assert similarity(a, b) == pytest.approx(ratio)
    assert similarity(a, b, floor) == pytest.approx(ratio) or ratio <= floor


def test_similarity_tiers_by_hand():
    gold = {
        "A__T": ["abcdefghij"],
        "A__U": ["abcdefghij", "zzz"],
        "A__V": ["abcdefghij"],
        "A__W": [],
        "A__X": ["abcdefghij"],
    }
    predictions = {
        "A__T": said(("abcdefghij", 0.9)),
        "A__U": said(("abcdefgh", 0.9), ("abcdefghij", 0.8)),
        "A__V": said(("abcdef", 0.9)),
        "A__W": said(("x", 0.9)),
        "A__X": said(("abcdefghij", 0.1)),
    }
    # ratios 1, 16/18, 12/16, and 0 as nothing is above the threshold
    assert similarity_tiers(predictions, gold) == {"above_0.9": 0.25, "above_0.7": 0.75, "above_0.5": 0.75}
    tiers = similarity_tiers({"A__T": said(("abcde", 0.9))}, {"A__T": ["abcdefghijklmno"]})
    assert tiers["above_0.5"] == 0  # 10/20 is not more than .5


def test_autojunk_is_off():
    text = (
        "Neither party may assign this Agreement without the written consent of the other party, which shall not be "
        "withheld. " * 2
    )
    assert (
        SequenceMatcher(None, text.replace(" ", "  "), text).ratio()
        < 0.5
        < 0.9
        < similarity(text.replace(" ", "  "), text)
    )


def test_verbatim_by_hand():
    predictions = {
        "A__T": said(("Tidewater", 0.9), ("tidewater", 0.8), ("4 Quay  Road", 0.7), ("hidden", 0.2)),
        "B__c__T": [],
    }
    texts = {"A": "Tidewater of 4 Quay\nRoad", "B__c": ""}
    assert verbatim_rate(predictions, texts) == pytest.approx(1 / 3) and verbatim_rate(
        predictions, texts, collapse=True
    ) == pytest.approx(2 / 3)
    assert math.isnan(verbatim_rate({"A__T": []}, texts))
    with pytest.raises(LegalLLMError, match="'B__c'"):
        verbatim_rate(predictions, {"A": "x"})


@settings(max_examples=150, deadline=None)
@given(cases(st.one_of(st.sampled_from([0.0, 0.2, 0.2, 0.7, 1.0]), st.floats(0, 1))))
def test_chosen_threshold_has_the_best_span_f1(case):
    predictions, gold = case

    def f1(c):
        return (lambda tp, fp, fn: 2 * tp / (2 * tp + fp + fn) if tp else 0)(
            *reference_counts(predictions, gold, c, parties=False)
        )

    # between two probabilities nothing changes
    tried = [0.0, *(a["probability"] for v in predictions.values() for a in v)]
    best, chosen = max(map(f1, tried)), choose_threshold(predictions, gold)
    assert f1(chosen) == best if best else chosen == 0.5
    assert not best or all(
        f1(c) < best
        for c in tried
        if c >= chosen
        and reference_counts(predictions, gold, c, False) != reference_counts(predictions, gold, chosen, False)
    )


def test_chosen_threshold_weighs_all_finds():
    answers = said(("a", 0.9), ("b", 0.8), ("junk", 0.7), ("more junk", 0.6), ("c", 0.5))
    # five gold texts: F1 is 4/7 after two extractions, 6/10 after all five
    assert choose_threshold({"A__T": answers}, {"A__T": ["a", "b", "c", "d", "e"]}) == pytest.approx(0.25)
    assert choose_threshold({"A__T": answers}, {"A__T": ["a", "b", "c", "d"]}) == pytest.approx(
        0.75
    )  # 4/6 against 6/9: the higher threshold


def test_chosen_threshold_is_half_way():
    predictions = {"A__T": said(("x", 0.8)), "A__U": said(("junk", 0.4)), "A__V": said(("y", 0.6))}
    assert choose_threshold(predictions, {"A__T": ["x"], "A__U": [], "A__V": ["y"]}) == pytest.approx(0.5)
    tight = {"A__T": said(("x", 0.5)), "A__U": said(("junk", math.nextafter(0.5, 0)))}
    assert (
        span_scores(tight, {"A__T": ["x"], "A__U": []}, choose_threshold(tight, {"A__T": ["x"], "A__U": []}))["f1"] == 1
    )


# --- intervals -------------------------------------------------------------------------------------

FAMILIES = {
    "official": official_statistic,
    "span": span_statistic,
    "detection": detection_statistic,
    "coverage": coverage_statistic,
    "squad": squad_statistic,
    "similarity": similarity_statistic,
    "verbatim": lambda predictions, gold: verbatim_statistic(
        predictions, {t: "goods1 notice,2 law3 fee.4" for t in by_contract(gold)[0]}
    ),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_resample_equals_scoring_the_drawn_contracts(family):
    rng = random.Random(11)
    predictions, gold = invent(6, rng)
    statistic = FAMILIES[family](predictions, gold)
    for _ in range(5):
        drawn = [rng.choice(statistic.contracts) for _ in statistic.contracts]

        def copy(side):
            return {f"{k} {i}": side[i] for k, title in enumerate(drawn) for i in gold if split_id(i)[0] == title}

        weights = np.array([[float(drawn.count(t)) for t in statistic.contracts]])
        again = {name: float(x[0]) for name, x in statistic.scores(weights).items()}
        agree(again, FAMILIES[family](copy(predictions), copy(gold)).value())


def test_intervals_cover_the_truth():
    # recall of contracts whose difficulty differs: true value known, 60 contracts a sample
    rng, covered, runs = np.random.default_rng(3), 0, 200
    sizes, skills = np.array([2, 5, 20]), np.array([0.9, 0.6, 0.4])
    truth = (sizes * skills).sum() / sizes.sum()
    for run in range(runs):
        kind = rng.integers(0, 3, 60)
        tp = rng.binomial(sizes[kind], skills[kind]).astype(float)
        n = sizes[kind].astype(float)
        statistic = Statistic([str(k) for k in range(60)], lambda w: {"recall": (w @ tp) / (w @ n)})
        interval = bootstrap(statistic, 300, seed=run)["recall"]
        covered += interval.low <= truth <= interval.high
    assert 0.89 <= covered / runs <= 0.99  # 95% aimed at; a percentile interval of 60 contracts falls a little short


def test_a_few_contracts_prove_nothing():
    "However much better one system is on them: a sign test on one, three, eight contracts has these values at least"
    rng = np.random.default_rng(0)
    for n, least in ((1, 1.0), (3, 0.25), (8, 2**-7)):
        hard = rng.random(n)
        better, worse = (
            Statistic([str(k) for k in range(n)], lambda w, x=x: {"accuracy": (w @ x) / w.sum(1)})
            for x in (hard + 0.1, hard)
        )
        assert paired_bootstrap(better, worse, "accuracy", 200).p_value == pytest.approx(max(least, 2 / 201))


def test_p_values_are_fair_and_sharp():
    rng, low, runs = np.random.default_rng(5), 0, 150

    def run(right):
        return Statistic([str(k) for k in range(len(right))], lambda w: {"accuracy": (w @ right) / w.sum(1)})

    for k in range(runs):  # two equally good runs
        a, b = rng.binomial(20, 0.6, 50) / 20, rng.binomial(20, 0.6, 50) / 20
        low += paired_bootstrap(run(a), run(b), "accuracy", 200, seed=k).p_value < 0.05
    assert low / runs <= 0.12
    hard = rng.random(50)  # contracts differ far more than the runs: only pairing can see the difference
    better = paired_bootstrap(run(hard + 0.02 + 0.01 * rng.standard_normal(50)), run(hard), "accuracy")
    assert better.p_value < 0.01 and better.difference.low > 0
    # the unpaired intervals overlap
    assert bootstrap(run(hard + 0.02))["accuracy"].low < bootstrap(run(hard))["accuracy"].high
    even = np.array([1.0, -1.0] * 25)
    assert paired_bootstrap(run(even), run(0 * even), "accuracy").p_value > 0.9  # as often better as worse
    worse = paired_bootstrap(run(hard), run(hard + 0.02), "accuracy")
    assert worse.p_value < 0.01 and worse.difference.high < 0 and "accuracy" in str(worse)


def test_bootstrap_is_seeded_and_the_same_run_has_no_difference():
    predictions, gold = invent(12, random.Random(1))
    statistic = official_statistic(predictions, gold)
    assert bootstrap(statistic, 200) == bootstrap(statistic, 200) != bootstrap(statistic, 200, seed=1)
    interval = bootstrap(statistic, 200)["aupr"]
    assert (
        interval.low < interval.value < interval.high and interval.value == official_scores(predictions, gold)["aupr"]
    )
    same = paired_bootstrap(statistic, official_statistic(predictions, gold), "aupr", 200)
    assert same.p_value == 1 and same.difference.low == same.difference.high == 0


def test_undefined_resamples_are_left_out():
    gold = {"A__T": ["x"], "B__T": []}
    interval = bootstrap(span_statistic(always_empty(gold), gold), 100)["precision"]
    assert (
        math.isnan(interval.value)
        and math.isnan(interval.low)
        and "–" in str(interval)
        and interval.to_dict() == {"value": None, "low": None, "high": None}
    )
    # B twice: no gold at all
    recall = bootstrap(official_statistic({"A__T": said(("x", 0.9)), "B__T": []}, gold), 100)["recall"]
    assert (recall.value, recall.low, recall.high) == (1, 1, 1)


# --- tables, pictures, files -----------------------------------------------------------------------


def test_score_table_shows_what_was_scored():
    predictions, gold = invent(8, random.Random(2))
    table = score_table(
        {"ours": predictions, "perfect": {i: said(*((g, 1.0) for g in v)) for i, v in gold.items()}},
        gold,
        {"ours": 0.3},
        resamples=50,
    )
    assert str(ScoreTable.from_dict(json.loads(json.dumps(table.to_dict())))) == str(table)
    assert list(table.rows) == ["always empty", "ours", "perfect"] and table.thresholds == {
        "ours": 0.3,
        "perfect": 0.5,
        "always empty": 0.5,
    }
    assert table.rows["perfect"]["span"]["f1"].value == 1 == table.rows["perfect"]["official"]["aupr"].value
    assert table.rows["ours"]["span"]["f1"].value == span_scores(predictions, gold, 0.3)["f1"]
    for text in (str(table), table._repr_markdown_()):
        for part in ("always empty", "AUPR", "P@80R", "max recall", "detection AP", "8 contracts", "ours 0.3", "–"):
            assert part in text
    kept = json.loads(json.dumps(table.to_dict(), allow_nan=False))
    assert (
        kept["systems"]["always empty"]["span"]["precision"] == {"value": None, "low": None, "high": None}
        and kept["contracts"] == 8
    )
    assert list(score_table({"ours": predictions}, gold, baseline=False, resamples=5).rows) == ["ours"]


def test_what_counts_as_found_may_be_said():
    "Thresholds by category: the found ones are given, ranking uses all"
    predictions, gold = invent(8, random.Random(4))
    # as the official scorer takes what stands twice
    last = {i: {p["text"]: p["probability"] for p in v if p["text"]} for i, v in predictions.items()}
    found = {i: said(*((t, p) for t, p in v.items() if p > 0.4)) for i, v in last.items()}
    one = score_table({"ours": predictions}, gold, 0.4, resamples=20)
    two = score_table({"ours": predictions}, gold, found={"ours": found}, resamples=20)
    for family in ("official", "span", "similarity", "detection"):
        assert {k: str(i) for k, i in one.rows["ours"][family].items()} == {
            k: str(i) for k, i in two.rows["ours"][family].items()
        }
    assert (
        two.thresholds is None
        and "each category's threshold" in str(two)
        and str(ScoreTable.from_dict(two.to_dict())) == str(two)
    )
    assert (
        all_scores(predictions, gold, found=found, resamples=5)["span"]["f1"].value
        == span_scores(predictions, gold, 0.4)["f1"]
    )


def test_all_scores_agree_with_the_plain_ones():
    predictions, gold = invent(5, random.Random(3))
    texts = {t: "goods1" for t in by_contract(gold)[0]}
    everything = all_scores(predictions, gold, 0.4, texts, resamples=20)
    plain = {
        "span": span_scores,
        "detection": detection_scores,
        "coverage": coverage_scores,
        "squad": squad_scores,
        "similarity": similarity_tiers,
    }
    for family, score in plain.items():
        assert {k: i.value for k, i in everything[family].items()} == score(predictions, gold, 0.4)
    assert everything["verbatim"]["verbatim_rate"].value == verbatim_rate(predictions, texts, 0.4)
    assert "verbatim" not in all_scores(predictions, gold, resamples=5)


def test_plot_has_a_line_per_system():
    predictions, gold = invent(5, random.Random(3))
    figure = plot_curves(
        {"ours": official_curve(predictions, gold), "always empty": official_curve(always_empty(gold), gold)}
    )
    assert [t.get_text().split(":")[0] for t in figure.axes[0].get_legend().get_texts()] == ["ours", "always empty"]
    assert plot_curves({}).axes[0].get_xlabel() == "recall"


def squad_file(gold):
    return {
        "version": "1",
        "data": [
            {
                "title": "t",
                "paragraphs": [
                    {
                        "context": "",
                        "qas": [
                            {
                                "id": i,
                                "question": "",
                                "is_impossible": not texts,
                                "answers": [{"text": t, "answer_start": 0} for t in texts],
                            }
                            for i, texts in gold.items()
                        ],
                    }
                ],
            }
        ],
    }


@pytest.mark.parametrize("pack", [lambda b: b, gzip.compress])
def test_files_plain_and_packed(tmp_path, pack):
    predictions, gold = invent(4, random.Random(6))
    nbest = {i: [{**a, "start_logit": 1.5, "end_logit": 0.2} for a in v] for i, v in predictions.items()}
    (tmp_path / "nbest").write_bytes(pack(json.dumps(nbest).encode()))
    (tmp_path / "gold").write_bytes(pack(json.dumps(squad_file(gold)).encode()))
    assert load_predictions(tmp_path / "nbest") == predictions and load_gold(tmp_path / "gold") == gold
    assert score_files(str(tmp_path / "nbest"), str(tmp_path / "gold")) == official_scores(predictions, gold)


FAULTS = {
    "is not readable": [b"{", b"", b"\xff\xfe\x00", b"\x1f\x8bnot gzip", gzip.compress(b'{"a": []}', mtime=0)[:-4]],
    "should hold an object": [b"[]", b"3", b"null"],
    "one text and no probability": [b'{"A__T": "x"}'],
    "SQuAD layout": [json.dumps(squad_file({"A__T": []})).encode()],
    "'A__T'.*list": [b'{"A__T": {"text": "x", "probability": 1}}', b'{"A__T": null}'],
    "'A__T'.*'text'": [
        b'{"A__T": [{"probability": 1}]}',
        b'{"A__T": ["x"]}',
        b'{"A__T": [{"text": null, "probability": 1}]}',
    ],
    "'A__T'.*must be a number": [
        b'{"A__T": [{"text": "x"}]}',
        b'{"A__T": [{"text": "x", "probability": "0.9"}]}',
        b'{"A__T": [{"text": "x", "probability": true}]}',
        b'{"A__T": [{"text": "", "probability": null}]}',
    ],
}


@pytest.mark.parametrize("message, data", [(m, d) for m, many in FAULTS.items() for d in many])
def test_bad_prediction_files(tmp_path, message, data):
    (tmp_path / "bad.json").write_bytes(data)
    with pytest.raises(LegalLLMError, match=message):
        load_predictions(tmp_path / "bad.json")


@pytest.mark.parametrize(
    "message, data",
    [
        ("is not readable", b"{"),
        ("SQuAD layout", b"[]"),
        ("SQuAD layout", b"{}"),
        ("SQuAD layout", b'{"data": [{"paragraphs": [{"qas": [{"id": "x"}]}]}]}'),
        ("SQuAD layout", b'{"A__T": []}'),
        ("SQuAD layout", b'{"data": 3}'),
        ("must be strings", b'{"data": [{"paragraphs": [{"qas": [{"id": "x", "answers": [{"text": 3}]}]}]}]}'),
        (
            "'x' stands twice",
            b'{"data": [{"paragraphs": [{"qas": [{"id": "x", "answers": []}, {"id": "x", "answers": []}]}]}]}',
        ),
    ],
)
def test_bad_gold_files(tmp_path, message, data):
    (tmp_path / "bad.json").write_bytes(data)
    with pytest.raises(LegalLLMError, match=message):
        load_gold(tmp_path / "bad.json")


@pytest.mark.parametrize("load", [load_gold, load_predictions])
def test_missing_files(tmp_path, load):
    with pytest.raises(LegalLLMError, match="no file .*none.json"):
        load(tmp_path / "none.json")
    with pytest.raises(LegalLLMError, match="is a folder"):
        load(tmp_path)


def test_question_ids_must_be_the_same():
    gold = {f"A__{k}": [] for k in range(9)}
    with pytest.raises(
        LegalLLMError, match=r"9 not predicted \('A__0', 'A__1', 'A__2', …\); 1 unknown to the gold \('B__0'\)"
    ):
        official_scores({"B__0": []}, gold)
    for score in (
        span_scores,
        detection_scores,
        coverage_scores,
        squad_scores,
        similarity_tiers,
        official_by_category,
        official_curve,
        choose_threshold,
    ):
        with pytest.raises(LegalLLMError, match="same questions"):
            score({}, gold)
    with pytest.raises(LegalLLMError, match="dictionary"):
        official_scores([], gold)
    with pytest.raises(LegalLLMError, match="gold of 'A__T'"):
        official_scores({"A__T": []}, {"A__T": "x"})


def test_numbers_of_other_kinds_are_probabilities_too():
    gold = {"A__T": ["x"]}
    for p in (1, np.float32(0.5), np.float64(0.5), np.int64(1), 7.5):
        assert official_scores({"A__T": said(("x", p))}, gold)["recall"] == 1


def test_comparing_needs_the_same_contracts_and_a_known_score():
    a, b = ({f"{t}__T": []} for t in "AB")
    with pytest.raises(LegalLLMError, match="different contracts"):
        paired_bootstrap(span_statistic(a, a), span_statistic(b, b), "f1")
    with pytest.raises(LegalLLMError, match="no score 'aupr'.*precision, recall, f1"):
        paired_bootstrap(span_statistic(a, a), span_statistic(a, a), "aupr")


def test_nothing_to_score_is_an_error():
    for score in (
        official_scores,
        span_scores,
        detection_scores,
        coverage_scores,
        squad_scores,
        similarity_tiers,
        official_by_category,
        choose_threshold,
    ):
        with pytest.raises(LegalLLMError, match="no questions"):
            score({}, {})
    with pytest.raises(LegalLLMError, match="no questions"):
        verbatim_rate({}, {})
