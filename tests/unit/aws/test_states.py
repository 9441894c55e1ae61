"""States in words, each change once, none left out."""

from kennel.aws.states import Transitions, state_words


def test_a_spot_interruption_is_said_in_words() -> None:
    assert state_words("Interrupted").startswith("a spot machine was taken back; goes on from its checkpoint")
    assert state_words("Interrupted", "Interrupted by EC2").endswith("(AWS: Interrupted by EC2)")


def test_where_the_word_says_it_all_aws_is_passed_on() -> None:
    assert state_words("Training", "Downloading the training image") == "Downloading the training image"
    assert state_words("InService") == ""


def test_each_change_is_said_once_also_those_that_passed_meanwhile() -> None:
    transitions = Transitions()
    first = {"SecondaryStatusTransitions": [{"Status": "Starting", "StatusMessage": "Launching"}]}
    assert list(transitions.new(first)) == ["Starting: Launching"]
    assert list(transitions.new(first)) == []
    later = {
        "SecondaryStatusTransitions": [
            {"Status": "Starting", "StatusMessage": "Insufficient capacity error from EC2, retrying!"},
            {"Status": "Interrupted"},
            {"Status": "Starting", "StatusMessage": "Launching"},
        ]
    }
    said = list(transitions.new(later))
    assert [line.partition(":")[0] for line in said] == ["Starting", "Interrupted", "Starting"]
    assert said[0] == "Starting: Insufficient capacity error from EC2, retrying!"
    assert list(transitions.new({})) == []
