from __future__ import annotations

import pytest

from vitcam.evaluation.datasets import DatasetClass, match_classes

FISH = DatasetClass("tench, Tinca tinca", "n01440764")
BIRD = DatasetClass("brambling, Fringilla montifringilla", "n01530575")
CRANE = DatasetClass("crane", "n02012849")


def test_the_models_own_classes():
    match = match_classes([FISH, BIRD], ["a", "b"], ["n01440764", "n01530575"])
    assert match.model_indices == (0, 1)
    assert match.sentence == "the model's 2 classes are the dataset's, in the same order"


def test_a_model_class_stands_for_several():
    match = match_classes([FISH, BIRD, CRANE], ["bird", "fish"], [{"n01530575", "n02012849"}, ["n01440764"]])
    assert match.model_indices == (1, 0, 0)
    assert match.sentence == "3 of 3 classes matched by WordNet id"


def test_ids_have_the_say_over_names():
    match = match_classes([CRANE, FISH], ["crane", "tench"], ["n03126707", "n01440764"])
    assert match.model_indices == (None, 1)
    assert match.sentence == "1 of 2 classes matched by WordNet id"
    assert match.matched == 1


def test_names_where_the_model_has_no_id():
    match = match_classes([FISH, CRANE], ["x", "Crane", "y"], ["n01440764", None, ()])
    assert match.model_indices == (0, 1)
    assert match.sentence == "2 of 2 classes matched, 1 by WordNet id and 1 by name"


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("Dining_Table", "dining table"),
        ("tvmonitor", "TV"),
        ("aeroplane", "airplane, plane"),
        ("tench, Tinca tinca", "tinca tinca"),
        ("jack-o'-lantern", "Jack o’ Lantern"),
    ],
)
def test_names_are_compared_without_case_space_and_punctuation(ours, theirs):
    match = match_classes([DatasetClass(ours)], ["other", theirs, "third"], None)
    assert match.model_indices == (1,)
    assert match.sentence == "1 of 1 classes matched by name"


def test_what_fits_two_classes_fits_none():
    match = match_classes([DatasetClass("crane"), DatasetClass("dog")], ["crane", "crane", "dog"], None)
    assert match.model_indices == (None, 2)


def test_a_whole_name_goes_before_a_synonym():
    match = match_classes([DatasetClass("crane, bird")], ["crane", "Crane bird"], None)
    assert match.model_indices == (1,)


def test_nothing_matches():
    match = match_classes([DatasetClass("cat")], ["dog", "cow"], None)
    assert match.model_indices == (None,)
    assert match.sentence == "0 of 1 classes matched: the dataset has, for example, 'cat', the model 'dog'"


IMAGENET = [DatasetClass(f"name {i}", f"n{i:08d}") for i in range(1000)]


@pytest.mark.parametrize("names", [None, [f"LABEL_{i}" for i in range(1000)]])
def test_a_thousand_nameless_outputs_are_imagenets(names):
    match = match_classes(IMAGENET, names, None, model_classes=1000)
    assert match.model_indices == tuple(range(1000))
    assert "no names or ids" in match.sentence
    assert "the model's 1000 outputs are taken as the dataset's 1000 classes" in match.sentence


def test_nameless_classes_of_the_dataset():
    ids_only = [DatasetClass(item.wordnet_id, item.wordnet_id) for item in IMAGENET]
    assert match_classes(ids_only, [f"thing {i}x" for i in range(1000)], None).matched == 1000


def test_other_spellings_in_the_same_order():
    names = [item.name for item in IMAGENET]
    names[3] = names[4] = "something else"
    match = match_classes(IMAGENET, names, None)
    assert match.model_indices == tuple(range(1000))
    assert match.sentence.startswith("998 of 1000 names agree, each in the same place")


def test_few_names_in_place_are_no_identity():
    match = match_classes([DatasetClass(name) for name in "abc"], ["a", "x", "y"], None)
    assert match.model_indices == (0, None, None)


def test_another_order_is_no_identity():
    names = [item.name for item in IMAGENET]
    names[3], names[4], names[5] = names[4], names[3], "something else"
    match = match_classes(IMAGENET, names, None)
    assert match.model_indices[3:6] == (4, 3, None)
    assert match.sentence == "999 of 1000 classes matched by name"


def test_other_ids_are_other_classes():
    ids = [item.wordnet_id for item in IMAGENET]
    ids[3] = "n99999999"
    assert match_classes(IMAGENET, None, ids).model_indices[3] is None


def test_nameless_outputs_of_another_number_match_nothing():
    match = match_classes(IMAGENET, None, None, model_classes=10)
    assert match.matched == 0
    assert "'no names'" in match.sentence


def test_contradictory_models_are_refused(complains):
    with complains("2 names, 1 WordNet ids, 3 logits"):
        match_classes([FISH], ["a", "b"], ["n01440764"], model_classes=3)
