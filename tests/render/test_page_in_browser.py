"""A page as a real browser shows it."""

import numpy as np

from diffmask_jax.render.heatmap import make_heatmap
from diffmask_jax.render.page import Entry, page
from diffmask_jax.render.replay import Replay
from diffmask_jax.render.spelling import spell
from experiments.common.browser import Look

ROWS = ("W", "E", "1", "2")
WINDOW = Look(500, 900)


def entry(words: int, replayed: bool = True) -> Entry:
    """Token t is dropped at layer t mod 5, that is never where that is 4."""
    spelt = [f"word{number}" for number in range(words)]
    tokens, text = ["[CLS]", *spelt, "[SEP]"], " ".join(spelt)
    ends = np.cumsum([len(word) + 1 for word in spelt]).tolist()
    places = [None, *((e - 1 - len(w), e - 1) for e, w in zip(ends, spelt, strict=True)), None]
    numbers = np.arange(len(tokens))
    values = np.where(np.arange(4)[:, None] < numbers % 5, 0.9, 0.02)
    heatmap = make_heatmap(
        title="“good” with probability 0.80", caption="C", tokens=tokens, rows=ROWS,
        values=values, parts=[-1, *[0] * words, -1],
    )  # fmt: skip
    replay = Replay(
        whole="“good” with probability 0.80",
        answers=tuple(f"“good” with probability 0.7{row}" for row in range(4)),
        kept=tuple((values > 0.5).sum(axis=1).tolist()), tokens=len(tokens),
        divergence=(0.0, 0.1, 0.2, 0.3), turned=(False,) * 4, probability=(0.7, 0.71, 0.72, 0.73),
        whole_probability=0.8,
    )  # fmt: skip
    return Entry(heatmap, (spell(text, tokens, places),), replay if replayed else None)


SHORTHAND = """
    const all = selector => [...document.querySelectorAll(selector)]
    const one = selector => document.querySelector(selector)
    const looks = () => all('#text-1 .text span').map(word => word.className)
"""


def browse(eye, folder, entries, script, place="", look=WINDOW):
    """What a script, the body of a function, returns in a page opened at a place."""
    file = folder / "page.html"
    file.write_text(page(entries, "Page"), encoding="utf-8")
    eye.open(file.as_uri() + place, look)
    return eye.see(SHORTHAND + script)


ACTS = """
    const seen = {opened: looks(), told: one('.told').textContent}
    seen.layer = one('.slider input').value
    const slider = one('.slider input')
    slider.value = 0
    slider.dispatchEvent(new Event('input', {bubbles: true}))
    seen.moved = looks()
    seen.movedTold = one('.told').textContent
    seen.hash = location.hash
    seen.now = all('#text-1 .now th').map(head => head.textContent.trim())
    seen.spoken = slider.getAttribute('aria-valuetext')
    const word = all('#text-1 .text span')[2]
    word.dispatchEvent(new MouseEvent('mouseover', {bubbles: true}))
    seen.lit = all('#text-1 .lit').map(element => element.tagName + ':' + element.textContent)
    seen.said = one('output').textContent
    all('#text-1 tbody td')[4].dispatchEvent(new MouseEvent('mouseover', {bubbles: true}))
    seen.litWord = all('#text-1 .text .lit').map(element => element.textContent)
    one('#text-1').dispatchEvent(new MouseEvent('mouseleave'))
    seen.left = all('.lit').length
    const reader = one('#text-1 .text')
    reader.focus()
    for (const key of ['ArrowLeft', 'ArrowRight', 'ArrowUp'])
        reader.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true}))
    seen.focused = all('#text-1 .text .lit').map(element => element.textContent)
    seen.upwards = slider.value
    const drop = one('.views [value=dropped]')
    drop.checked = true
    drop.dispatchEvent(new Event('change', {bubbles: true}))
    seen.dropped = looks()
    seen.at = all('#text-1 .text span').map(word => word.dataset.at || '')
    seen.legends = [one('.legend').hidden, one('.drops').hidden]
    seen.viewed = location.hash
    slider.dispatchEvent(new Event('input', {bubbles: true}))
    seen.movedView = location.hash
    return seen
"""


def test_slider_links_keys_and_views(eye, tmp_path):
    seen = browse(eye, tmp_path, [entry(6), entry(3, replayed=False)], ACTS, "#layer=E")
    kept, gone = "v90", "v2"
    # Tokens 0 to 7: at layer E (1) those of t mod 5 > 1 are kept; at W (0) those of t mod 5 > 0.
    assert seen["layer"] == "1" and seen["told"].startswith("Layer E, with 4 of 8 tokens kept: ")
    assert seen["opened"] == [
        f"{gone} special",
        gone,
        kept,
        kept,
        kept,
        gone,
        gone,
        f"{kept} special",
    ]
    assert seen["moved"] == [f"{gone} special", *[kept] * 4, gone, kept, f"{kept} special"]
    assert "probability 0.70 instead of 0.80" in seen["movedTold"]
    assert seen["hash"] == "#text=1&layer=W" and seen["now"] == ["W"]
    assert seen["spoken"] == "W the word embeddings"
    assert seen["lit"][0] == "SPAN:word1" and seen["lit"].count("TR:W0.9.9.9.9.02.9.9") <= 1
    assert sum(name.startswith("TD:") for name in seen["lit"]) == 4
    assert sum(name.startswith("TH:word1") for name in seen["lit"]) == 1
    assert seen["said"] == (
        "word1: kept with probability 0.900 at layer W, dropped at layer 1"
    )  # fmt: skip
    assert seen["litWord"] == ["word3"] and seen["left"] == 0
    assert seen["focused"] == ["word3"] and seen["upwards"] == "1"
    assert seen["at"] == ["W", "E", "1", "2", "", "W", "E", "1"]
    assert seen["dropped"][3:6] == ["v75", "v100 lit", "v0"]
    assert seen["legends"] == [True, False]
    assert seen["viewed"] == seen["movedView"] == "#text=1&layer=E&view=dropped"


KEYS = """
    const reader = one('#text-1 .text'), spans = all('#text-1 .text span')
    const press = (key, more) => {
        const event = new KeyboardEvent('keydown', {key, bubbles: true, cancelable: true, ...more})
        reader.dispatchEvent(event)
        return [event.defaultPrevented, spans.findIndex(word => word.classList.contains('lit'))]
    }
    reader.focus()
    const seen = {first: press('ArrowRight')}
    const held = ['altKey', 'ctrlKey', 'metaKey', 'shiftKey']
    seen.held = held.map(key => press('ArrowLeft', {[key]: true}))
    reader.style.direction = 'rtl'
    seen.leftwards = press('ArrowLeft')
    seen.rightwards = press('ArrowRight')
    return seen
"""


def test_arrows_move_as_the_text_runs_and_held_keys_are_the_browser_s(eye, tmp_path):
    seen = browse(eye, tmp_path, [entry(6)], KEYS)
    assert seen["first"] == [True, 1] and seen["held"] == [[False, 1]] * 4
    assert seen["leftwards"] == [True, 2] and seen["rightwards"] == [True, 1]


def test_a_token_just_above_a_half_is_kept_on_the_page_as_in_the_numbers(eye, tmp_path):
    whole = entry(6)
    values = np.where(whole.heatmap.values > 0.5, np.float32(0.5000001), np.float32(0.5))
    replaced = whole._replace(heatmap=whole.heatmap._replace(values=values))
    seen = browse(eye, tmp_path, [replaced], ACTS, "#layer=E")
    assert seen["at"] == ["W", "E", "1", "2", "", "W", "E", "1"]


def test_dark_and_narrow_a_long_text_wraps(eye, tmp_path):
    script = """return {
        paper: getComputedStyle(document.body).backgroundColor,
        wide: document.documentElement.scrollWidth <= innerWidth,
        high: one('.text').getBoundingClientRect().height,
        text: one('.text').textContent, cells: all('td').length,
        curve: one('svg').getBoundingClientRect().right <= innerWidth}"""
    seen = browse(eye, tmp_path, [entry(300)], script, "", Look(400, 900, dark=True))
    assert seen["paper"] == "rgb(18, 19, 24)" and seen["wide"] and seen["curve"]
    assert seen["high"] > 1000 and seen["cells"] == 4 * 302
    assert seen["text"].startswith("[CLS]word0 word1 ")


def test_the_table_of_a_long_text_unfolds_into_lines_that_fit_and_are_linked(eye, tmp_path):
    script = """
        const folded = one('article details'), closed = !folded.open
        folded.open = true
        const last = [...all('.grid')].pop(), cell = [...last.querySelectorAll('td')].pop()
        cell.dispatchEvent(new MouseEvent('mouseover', {bubbles: true}))
        return {
            closed, lines: all('.grid').length, now: all('.now').length,
            fit: all('.grid').every(grid => grid.getBoundingClientRect().right <= innerWidth),
            lit: all('.text .lit').map(word => word.textContent).join(),
            said: one('output').textContent}"""
    seen = browse(eye, tmp_path, [entry(98)], script, "#layer=E", Look(1120, 900))
    assert (seen["closed"], seen["lines"], seen["now"], seen["fit"]) == (True, 4, 4, True)
    assert seen["lit"] == "[SEP]" and seen["said"].startswith(
        "[SEP]: kept with probability 0.900 at layer W"
    )


def test_by_the_keyboard_alone(eye, tmp_path):
    """Tab comes to the views, the text, the slider, and what has the focus is seen to have it."""
    browse(eye, tmp_path, [entry(6)], "")
    where = """return [
        document.activeElement.className || document.activeElement.tagName,
        getComputedStyle(document.activeElement).outlineStyle !== 'none',
        all('.text .lit').map(word => word.textContent).join(), one('.slider input').value]"""
    seen = {}
    for _ in range(8):
        eye.press("Tab")
        name, *rest = eye.see(SHORTHAND + where)
        seen[name] = rest
        if name == "text":
            eye.press("ArrowRight", "ArrowRight", "ArrowDown")
            seen["moved"] = eye.see(SHORTHAND + where)[2:]
        if name == "INPUT" and "text" in seen:
            eye.press("ArrowLeft")
            seen["slid"] = eye.see(SHORTHAND + where)[3]
    assert seen["text"] == [True, "[CLS]", "3"] and seen["moved"] == ["word1", "2"]
    assert seen["slid"] == "1"
    assert all(visible for visible, *_ in (seen["SUMMARY"], seen["INPUT"], seen["scroll"]))


def test_without_a_script_every_number_is_there_and_nothing_asks_for_one(eye, tmp_path):
    script = "return [all('td').length, all('.slider, .views').length, one('.legend').hidden]"
    seen = browse(eye, tmp_path, [entry(6)] * 3, script, "", WINDOW._replace(script=False))
    assert seen == [3 * 4 * 8, 0, False]


def test_a_text_runs_in_the_direction_of_its_own_letters(eye, tmp_path):
    """Its special tokens, too: the first at the right, the last at the left."""
    text = "الفيلم رائع جدا"
    words = text.split()
    ends = np.cumsum([len(word) + 1 for word in words]).tolist()
    places = [None, *((e - 1 - len(w), e - 1) for e, w in zip(ends, words, strict=True)), None]
    tokens = ["[CLS]", *words, "[SEP]"]
    heatmap = make_heatmap(
        title="t", caption="c", tokens=tokens, rows=ROWS, values=np.full((4, 5), 0.5),
        parts=[-1, 0, 0, 0, -1],
    )  # fmt: skip
    arabic = Entry(heatmap, (spell(text, tokens, places),))
    script = """return ['#text-1', '#text-2'].map(text =>
        all(text + ' .text span').map(word => word.getBoundingClientRect().left))"""
    right_to_left, left_to_right = browse(eye, tmp_path, [arabic, entry(3, False)], script)
    assert right_to_left == sorted(right_to_left, reverse=True)
    assert left_to_right == sorted(left_to_right)


def test_of_two_hundred_texts_only_those_in_sight_are_laid_out_until_printed(eye, tmp_path):
    """And the address opens one of them, at a layer of its own."""
    script = """
        const seen = {
            before: all('table').length, sliders: all('.slider').length,
            layers: all('.slider input').map(slider => slider.value),
            at: Math.round(one('#text-150').getBoundingClientRect().top)}
        dispatchEvent(new Event('beforeprint'))
        return {...seen, after: all('table').length}"""
    seen = browse(eye, tmp_path, [entry(12)] * 200, script, "#text=150&layer=E")
    assert 1 <= seen["before"] <= 20 and seen["sliders"] == seen["before"]
    assert seen["after"] == 200
    assert abs(seen["at"]) < 500 and seen["layers"].count("1") == 1
