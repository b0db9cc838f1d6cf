"""Cut where its tokens are, a text is still itself."""

from hypothesis import given
from hypothesis import strategies as st

from diffmask_jax.render.spelling import Piece, spell


def test_pieces_stand_where_their_tokens_do():
    found = spell("A  fast\nfilm ", ["[CLS]", "a", "fast", "[SEP]"], [None, (0, 1), (3, 7), None])
    assert found.pieces == (
        Piece("", "[CLS]", True),
        Piece("", "A", False),
        Piece("  ", "fast", False),
        Piece("", "[SEP]", True),
    )
    assert found.rest == "\nfilm "


@given(text=st.text(max_size=12), data=st.data())
def test_a_text_is_its_pieces_whatever_its_tokens(text, data):
    """Tokens of blanks alone are empty, and several may be of the same character."""
    ends = st.integers(0, len(text))
    places = data.draw(st.lists(st.none() | st.tuples(ends, ends).map(sorted).map(tuple)))
    places = sorted((place for place in places if place), key=lambda place: place[0])
    found = spell(text, ["x"] * len(places), places)
    assert "".join(piece.before + piece.text for piece in found.pieces) + found.rest == text
