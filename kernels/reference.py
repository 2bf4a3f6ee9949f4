"""The slow twins: same names and signatures as the kernels, written the plain way.

They are the oracle of the tests; nothing else calls them. Written from the definitions, with sets
and whole-array numpy, so that a slip in a kernel is not repeated here.
"""

from __future__ import annotations

import numpy as np

from .mask import (
    BREAK,
    BUDGET,
    CUT,
    END,
    ENDS,
    FINISHED,
    LAST,
    LINE,
    LINE_ROOT,
    MARK,
    MID_ROOT,
    NODE,
    SEASON,
    STYLE,
    WORD,
    Masks,
    Tables,
)


def _bits(value: int) -> set[int]:
    return {i for i in range(int(value).bit_length()) if int(value) >> i & 1}


def shift_budget(budget: int, bits: int) -> int:
    """What may remain: every difference of a possible budget and a possible count."""
    left = {b - s for b in _bits(budget) for s in _bits(bits) if b >= s}
    return sum(1 << r for r in left)


def find_child(tables: Tables, node: int, token: int) -> int:
    """The child of `node` reached by `token`, or -1."""
    first, count = int(tables.first[node]), int(tables.count[node])
    for child in range(first, first + count):
        if int(tables.token[child]) == token:
            return child
    return -1


def settled_cut(tables: Tables, cut: int) -> int:
    """A cut left open (cut + n_cuts * (mark + 1)) counts once a word follows."""
    mark, counter = divmod(int(cut), tables.cut_after.shape[0])
    return counter if mark == 0 else int(tables.cut_after[counter, mark - 1])


def commit_unit(tables: Tables, row: np.ndarray, unit: int) -> None:
    """Apply a finished unit to a state row, in place."""
    kind, which = int(tables.kind[unit]), int(tables.word[unit])
    lines = len(tables.line_bits)
    if kind == WORD:
        starts_line = tables.lo[LINE_ROOT] <= unit < tables.hi[LINE_ROOT]
        if starts_line:
            style, new_sentence = divmod(int(row[STYLE]), 2)
            row[STYLE] = tables.style_next[style, new_sentence, tables.form[unit]] * 2
        row[CUT] = settled_cut(tables, int(row[CUT]))
        row[BUDGET] = shift_budget(int(row[BUDGET]), int(tables.bits[which]))
        row[SEASON] = tables.season_next[row[SEASON], tables.column[which]]
        row[LAST], row[NODE] = which, MID_ROOT
    elif kind == MARK:
        on_last = int(row[LINE]) == lines - 1
        left = _bits(int(row[BUDGET]))
        goes_on = {r for r in left if r > 0 and tables.mark_mid[which]}
        closes = {r for r in left if r == 0 and tables.mark_close[int(on_last), which]}
        row[BUDGET] = sum(1 << r for r in goes_on | closes)
        row[SEASON] = tables.season_flush[row[SEASON]]
        if on_last and closes and goes_on:
            row[CUT] += tables.cut_after.shape[0] * (which + 1)
        elif not (on_last and closes):
            row[CUT] = tables.cut_after[row[CUT], which]
        if tables.mark_sentence[which]:
            row[STYLE] |= 1
        row[NODE] = MID_ROOT
    elif kind in (BREAK, END):
        line = int(row[LINE])
        row[SEASON] = tables.season_flush[row[SEASON]]
        row[ENDS + line], row[LAST], row[LINE] = row[LAST], -1, line + 1
        over = kind == END or line + 1 == lines
        row[NODE] = FINISHED if over else LINE_ROOT
        row[BUDGET] = 0 if kind == END or over else tables.line_bits[line + 1]


def advance_states(tables: Tables, states: np.ndarray, tokens: np.ndarray) -> int:
    """Step every row by its token, in place. Returns -1, or the first row that cannot follow."""
    for b, token in enumerate(tokens.tolist()):
        row = states[b]
        node = int(row[NODE])
        if node == FINISHED:
            return b
        child = find_child(tables, node, token)
        inside_unit = node not in (LINE_ROOT, MID_ROOT)
        if child < 0 and inside_unit and tables.unit[node] >= 0:
            commit_unit(tables, row, int(tables.unit[node]))
            child = find_child(tables, MID_ROOT, token)
        if child < 0:
            return b
        row[NODE] = child
        unit = int(tables.unit[child])
        if unit >= 0 and tables.kind[unit] != WORD and tables.count[child] == 0:
            commit_unit(tables, row, unit)
    return -1


def allowed_children(
    tables: Tables,
    node: int,
    type_of: np.ndarray,
    type_ok: np.ndarray,
    word_hit: np.ndarray,
    form_ok: np.ndarray,
    other_ok: np.ndarray,
    type_outlook: np.ndarray,
    other_outlook: np.ndarray,
    strain: float,
    out: np.ndarray,
    outlook: np.ndarray,
) -> int:
    """Tokens of the children of `node` that lead to an allowed unit, by judging every unit."""
    is_word = tables.kind == WORD
    word = np.where(is_word, tables.word, 0)
    fits = (type_ok[type_of[word]] != 0) & (form_ok[tables.form] != 0)
    heard = fits & ((type_ok[type_of[word]] & ~word_hit[word]) != 0)
    other = np.where(is_word, 0, tables.word)
    unit_fits = np.where(is_word, fits, other_ok[other] != 0)
    unit_ok = np.where(is_word, heard, other_ok[other] != 0)
    unit_outlook = np.where(is_word, type_outlook[type_of[word]], other_outlook[other])
    first, count = int(tables.first[node]), int(tables.count[node])
    children = [
        child
        for child in range(first, first + count)
        if unit_ok[tables.lo[child] : tables.hi[child]].any()
    ]
    for i, child in enumerate(children):
        below = np.arange(tables.lo[child], tables.hi[child])
        own = int(tables.unit[child]) if len(below) > 1 else int(below[0])
        out[i] = tables.token[child]
        if own >= 0 and unit_ok[own]:
            outlook[i] = unit_outlook[own]
        else:
            counts = unit_fits[below] & (below != own)
            hopes = np.where(counts, np.exp(unit_outlook[below]), 0.0)
            outlook[i] = np.log(hopes.mean()) + (strain if own >= 0 else 0.0)
    return len(children)


def set_bits(tokens: np.ndarray, row: np.ndarray) -> None:
    """Clear an int32 bitmask row, then set the bits of `tokens`."""
    flags = np.zeros(len(row) * 32, np.uint8)
    flags[tokens] = 1
    row[:] = np.packbits(flags, bitorder="little").view("<i4")


def apply_token_bitmask_inplace(logits: np.ndarray, bitmask: np.ndarray) -> None:
    """Set logits (B, V) to -inf wherever the bitmask has a clear bit."""
    flags = np.unpackbits(bitmask.view(np.uint8), axis=1, bitorder="little")
    logits[flags[:, : logits.shape[1]] == 0] = -np.inf


def log_sum_exp(values: np.ndarray) -> float:
    """log sum exp in float64."""
    wide = values.astype(np.float64)
    top = wide.max()
    return float(top + np.log(np.exp(wide - top).sum())) if np.isfinite(top) else float(top)


def truncated(weights: np.ndarray, top_k: int, top_p: float, min_p: float) -> np.ndarray:
    """Weights with those outside top-k, then top-p, then min-p set to zero."""
    kept = weights.astype(np.float64).copy()
    # Larger weights first, ties by position.
    order = sorted(range(len(kept)), key=lambda i: (-kept[i], i))
    if 0 < top_k < len(kept):
        kept[order[top_k:]] = 0.0
    if top_p < 1.0:
        need = top_p * kept.sum()
        mass = 0.0
        for rank, i in enumerate(order):
            mass += kept[i]
            if mass >= need:
                kept[order[rank + 1 :]] = 0.0
                break
    kept[kept < min_p * kept.max()] = 0.0
    return kept


def sample_masked(
    thread: int,
    threads: int,
    barrier: np.ndarray,
    logits: np.ndarray,
    row_of: np.ndarray,
    extra_logits: np.ndarray,
    whole: bool,
    order: np.ndarray,
    rank: np.ndarray,
    masks: Masks,
    norm: np.ndarray,
    history: np.ndarray,
    uniforms: np.ndarray,
    temperature: float,
    top_k: int,
    top_p: float,
    min_p: float,
    penalty: float,
    lookahead: bool,
    guide: np.ndarray,
    guide_row: np.ndarray,
    scratch: np.ndarray,
    tokens: np.ndarray,
    log_p: np.ndarray,
    log_q: np.ndarray,
    log_mass: np.ndarray,
    ahead: np.ndarray,
) -> None:
    """Draw one token per row, one row after another. See `sampling.sample_masked`."""
    for b in range(len(uniforms)):
        entry = slice(masks.start[b], masks.stop[b] if masks.entry[b] >= 0 else masks.start[b])
        places = masks.position[entry].astype(np.int64)
        dropped = masks.drop[masks.drop_start[b] : masks.drop_start[b + 1]]
        extras = slice(masks.extra_start[b], masks.extra_start[b + 1])
        held = ~np.isin(places, dropped)
        places = places[held]
        ids = np.concatenate([order[places], masks.extra_token[extras]])
        if whole:
            raw = logits[row_of[b], ids].astype(np.float64)
        else:
            raw = np.concatenate([logits[row_of[b], places], extra_logits[extras]]).astype(
                np.float64
            )
        raw = np.where(np.isnan(raw), -np.inf, np.minimum(raw, float(np.float32(3.0e38))))
        tokens[b] = -1
        log_p[b] = log_q[b] = log_mass[b] = ahead[b] = np.nan
        if not np.isfinite(raw).any():
            continue
        log_mass[b] = log_sum_exp(raw) - norm[b]
        written = np.isin(ids, history[b][history[b] >= 0])
        penalised = np.where(raw > 0, raw / penalty, raw * penalty)
        scores = np.where(written, penalised, raw)
        if temperature > 0.0:
            scores = scores / temperature
        added = np.zeros(len(ids))
        if lookahead:
            added += np.concatenate([masks.outlook[entry][held], masks.extra_outlook[extras]])
        if guide_row[b] >= 0:
            by_token = {int(token): place for place, token in enumerate(order)}
            added += [guide[guide_row[b], by_token.get(int(token), -1)] for token in ids]
        scores = scores + added
        if temperature == 0.0:
            choice, log_q[b] = int(scores.argmax()), 0.0
        else:
            weights = np.exp(scores - scores.max())
            weights = truncated(weights, top_k, top_p, min_p)
            possible = np.flatnonzero(weights)
            cumulative = np.cumsum(weights[possible])
            place = int(np.searchsorted(cumulative, uniforms[b] * cumulative[-1], side="right"))
            choice = int(possible[min(place, len(possible) - 1)])
            log_q[b] = np.log(weights[choice] / cumulative[-1])
        tokens[b] = ids[choice]
        log_p[b] = raw[choice] - norm[b]
        ahead[b] = added[choice]
