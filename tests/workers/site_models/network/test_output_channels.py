from __future__ import annotations

import numpy as np
import pytest

from storage.domain import LabelEntry
from workers.errors import LabelsInvalid, ModelUnsuitable
from workers.site_models.label_codes import code_labels
from workers.site_models.model_file import Activation, OutputSection
from workers.site_models.network.output_channels import output_channels

SOFTMAX, SIGMOID = OutputSection(), OutputSection(activation=Activation.SIGMOID)
PROBABILITIES = OutputSection(activation=Activation.NONE)


def table(*names: str) -> tuple[LabelEntry, ...]:
    return code_labels(dict(enumerate(names, start=1)))


def column(*values: float) -> np.ndarray:
    return np.array(values, np.float32)[:, None]


def test_of_a_softmax_the_highest_channel_wins_and_lesions_add_up() -> None:
    channels = output_channels(4, SOFTMAX, table("liver", "liver tumour", "liver cyst"), name="m")
    probabilities = channels.probabilities(np.log(column(0.1, 0.3, 0.25, 0.35)))
    assert channels.labels(probabilities).tolist() == [3]
    np.testing.assert_allclose(channels.lesion(probabilities), [0.6], atol=1e-6)


def test_sigmoids_are_drawn_from_the_threshold_on_and_lesions_lie_over_organs() -> None:
    output = OutputSection(activation=Activation.SIGMOID, threshold=0.4)
    channels = output_channels(2, output, table("liver", "liver tumour"), name="m")
    probabilities = np.array([[0.9, 0.9, 0.3], [0.41, 0.39, 0.1]], np.float32)
    assert channels.labels(probabilities).tolist() == [2, 1, 0]
    np.testing.assert_allclose(channels.lesion(probabilities), [0.41, 0.39, 0.1])


def test_one_sigmoid_channel_is_one_lesion() -> None:
    channels = output_channels(1, SIGMOID, table("tumour"), name="m")
    probabilities = channels.probabilities(np.array([[-3.0, 0.0, 3.0]], np.float32))
    assert channels.labels(probabilities).tolist() == [0, 1, 1]


def test_probabilities_have_a_background_where_there_is_one_channel_more_than_labels() -> None:
    with_background = output_channels(2, PROBABILITIES, table("tumour"), name="m")
    assert with_background.labels(column(0.4, 0.6)).tolist() == [1]
    assert with_background.lesion(column(0.4, 0.6)).tolist() == [pytest.approx(0.6)]
    assert output_channels(1, PROBABILITIES, table("tumour"), name="m").labels(column(0.6)).tolist() == [1]


def test_an_organ_without_lesions_gives_no_lesion() -> None:
    channels = output_channels(2, SOFTMAX, table("liver"), name="m")
    assert channels.lesion(column(0.0, 1.0)).tolist() == [0]


def test_logits_that_are_called_probabilities_are_refused() -> None:
    channels = output_channels(2, PROBABILITIES, table("tumour"), name="m")
    with pytest.raises(ModelUnsuitable, match=r"from -3 to 7, no probabilities: set output\.activation"):
        channels.probabilities(column(-3.0, 7.0))


def test_a_label_beyond_the_channels_is_named() -> None:
    with pytest.raises(LabelsInvalid, match=r"label 2 \(spleen\) is none of the softmax output of 2 channels of m"):
        output_channels(2, SOFTMAX, table("liver", "spleen"), name="m")
    with pytest.raises(LabelsInvalid, match=r"label 2 \(spleen\) is none of the sigmoid output of 1 channel of m"):
        output_channels(1, SIGMOID, table("liver", "spleen"), name="m")


def test_a_channel_without_a_label_is_named() -> None:
    with pytest.raises(LabelsInvalid, match=r"softmax output of 4 channels of m has a label 3 without"):
        output_channels(4, SOFTMAX, table("liver", "spleen"), name="m")
