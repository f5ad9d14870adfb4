"""A field that follows a session when something goes wrong: what it says, and that it goes on."""

from pathlib import Path

import pytest

from semantic_ns.errors import SceneError
from semantic_ns.labelling import field as following
from support.field_followers import NO_ROOM, Followers, has_followed, of_request, post
from support.label_page import SOFA
from support.label_server import action, ask, mark, serving, wait_until
from support.label_session import SmallSession


@pytest.fixture
def session() -> SmallSession:
    return SmallSession(num_frames=3, height=48, width=64)


def test_a_process_that_is_killed_loses_nothing_and_is_started_again(session: SmallSession, follow: Followers) -> None:
    field = follow(TRAIN="if number == 2: os.kill(os.getpid(), 9)")
    post(session, 0, class_id=SOFA)
    wait_until(has_followed(field, 1))
    before = field.labels
    post(session, 1, class_id=1, x=5, y=5)
    wait_until(has_followed(field, 2))
    assert sum('"begin"' in one for one in follow.asked()) == 2
    assert before is not None
    assert field.labels is not before


def test_a_process_that_ends_again_and_again_is_given_up_with_a_sentence(
    session: SmallSession, follow: Followers
) -> None:
    field = follow(TRAIN="sys.exit(3)")
    post(session, 0)
    wait_until(lambda: field.state.state == "failed")
    assert str(field.state.sentence).startswith("Expected the process that trains the field's classes to go on, found")
    assert "field.log" in str(field.state.sentence)
    assert len(follow.asked()) == 2 * following._MOST_ENDS
    post(session, 1)
    assert session.revision == 2


def test_a_run_that_does_not_suit_is_told_in_its_own_sentence(session: SmallSession, follow: Followers) -> None:
    field = follow(BEGIN='said = {"error": "Expected another run, found this one."}')
    post(session, 0)
    wait_until(lambda: field.state.state == "failed")
    assert field.state.sentence == "Expected another run, found this one."
    assert len(follow.asked()) == 1


def test_a_request_that_fails_leaves_the_field_as_it_is(session: SmallSession, follow: Followers) -> None:
    field = follow(RENDER='if asked["frame"] == 2: print(json.dumps({"error": "No."}), flush=True); continue')
    post(session, 0)
    wait_until(has_followed(field, 1))
    with pytest.raises(SceneError, match="No"):
        field.render(2)
    labels, confidence = field.render(1)
    assert (labels == 1).all()
    assert (confidence == 51).all()
    assert field.state.state == "ready"


def test_who_waits_is_told_when_the_process_ends(session: SmallSession, follow: Followers) -> None:
    field = follow(RENDER="sys.exit(1)")
    post(session, 0)
    wait_until(has_followed(field, 1))
    with pytest.raises(SceneError, match="found that it ended"):
        field.render(0)
    field.close()
    with pytest.raises(SceneError, match="the session has ended"):
        field.render(0)


def test_a_fault_is_told_to_who_asked_and_the_next_one_is_answered(session: SmallSession, follow: Followers) -> None:
    field = follow(RENDER='if number == 1: print("neither JSON nor nothing", flush=True); continue')
    post(session, 0)
    wait_until(has_followed(field, 1))
    sentence = of_request(lambda: field.render(1))
    assert sentence.startswith("Expected the field to follow the labels, found a fault of this program (JSON")
    assert "Traceback" in (follow.folder / "field" / "field.log").read_text()
    labels, _ = of_request(lambda: field.render(1))
    assert (labels == 1).all()
    wait_until(has_followed(field, 1))
    assert field.state.sentence is None


def test_a_fault_while_the_field_begins_is_survived(session: SmallSession, follow: Followers) -> None:
    field = follow(BEGIN="if number == 1: said = {}")
    post(session, 0)
    wait_until(has_followed(field, 1))
    assert sum('"begin"' in one for one in follow.asked()) == 2


def test_ends_with_a_success_between_them_are_no_reason_to_give_up(session: SmallSession, follow: Followers) -> None:
    field = follow(TRAIN="if number % 3: sys.exit(3)")
    for number in range(following._MOST_ENDS):
        post(session, number, x=10 + number)
        wait_until(has_followed(field, number + 1))
    assert sum('"begin"' in one for one in follow.asked()) == 2 * following._MOST_ENDS + 1


def test_who_labels_can_have_the_field_begin_again(session: SmallSession, follow: Followers, tmp_path: Path) -> None:
    field = follow(TRAIN=f"if number <= {following._MOST_ENDS + 1}: sys.exit(3)")
    with serving(session, tmp_path / "exports", field=field) as server:
        ask(server.port, "/api/marks", "POST", action(0, mark=mark()))
        wait_until(lambda: field.state.state == "failed")
        reply = ask(server.port, "/api/field", "POST", {"action": "begin-again"})
        assert reply.content["field"]["state"] != "failed"
        wait_until(has_followed(field, 1))
        assert "begin-again" in ask(server.port, "/api/field", "POST", {"action": "end"}).sentence


def test_a_training_that_fails_is_told_and_the_next_change_is_learned(session: SmallSession, follow: Followers) -> None:
    field = follow(TRAIN=f"if number == 2: {NO_ROOM}")
    post(session, 0)
    wait_until(has_followed(field, 1))
    post(session, 1, x=10)
    wait_until(lambda: field.state.sentence is not None)
    assert (field.state.state, field.state.version) == ("ready", 1)
    assert field.state.sentence == "Expected room, found none."
    assert (of_request(lambda: field.render(1))[0] == 1).all()
    post(session, 2, x=11)
    wait_until(has_followed(field, 3))
    assert field.state.sentence is None
    assert sum('"begin"' in one for one in follow.asked()) == 1


@pytest.mark.parametrize(("where", "state"), [("TRAIN", "ready"), ("BEGIN", "failed")])
def test_a_process_that_is_started_for_a_request_and_fails_leaves_a_state_that_says_so(
    session: SmallSession, follow: Followers, monkeypatch: pytest.MonkeyPatch, where: str, state: str
) -> None:
    field = follow(RENDER="sys.exit(1)", **{where: f"if number == 2: {NO_ROOM}"})
    post(session, 0)
    wait_until(has_followed(field, 1))
    for name in ("_REST_S", "_LONGEST_REST_S"):  # so that it is started for the second request alone
        monkeypatch.setattr(following, name, 1e9)
    assert "found that it ended" in of_request(lambda: field.render(0))
    assert of_request(lambda: field.render(0)) == "Expected room, found none."
    assert (field.state.state, field.state.sentence) == (state, "Expected room, found none.")
