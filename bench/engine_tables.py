"""Results of decoding_peers.py and mask_peers.py as Markdown.

Knows results alone, and loads no engine. Called by those two and by readme.py.
"""

from __future__ import annotations

import math
from typing import Any

import machine
from figures import short


def missed(ratio: dict[str, Any]) -> bool:
    """Whether a ratio is not what is wanted of it."""
    at_most, at_least = ratio.get("at_most", math.inf), ratio.get("at_least", -math.inf)
    return not at_least <= ratio["median"] <= at_most


def decoding(results: dict[str, Any]) -> str:
    """The results as Markdown: tokens a second, poems a second, ratios."""
    batches = sorted({row["batch"] for row in results["rows"]})
    head = " | ".join(f"batch {batch}" for batch in batches)
    lines = [f"| engine | {head} |", f"| --- |{' ---: |' * len(batches)}"]
    for mode, unit, says in (
        ("free", "tokens/s", "free, tokens/s"),
        ("poems", "haiku/s", "haiku/s"),
    ):
        kind = [r for r in results["rows"] if r["mode"] == mode and r["unit"] == unit]
        for name in dict.fromkeys(row["engine"] for row in kind):
            by = {row["batch"]: row for row in kind if row["engine"] == name}
            cells = " | ".join(_cell(by[b]) if b in by else "-" for b in batches)
            lines.append(f"| {name}: {says} | {cells} |")
    lines += ["", f"| ratio, in the same rounds | {head} |", f"| --- |{' ---: |' * len(batches)}"]
    for name in dict.fromkeys(ratio["name"] for ratio in results["ratios"]):
        of = {r["batch"]: r for r in results["ratios"] if r["name"] == name}
        cells = " | ".join(_cell(of[b]) + _wanted(of[b]) if b in of else "-" for b in batches)
        lines.append(f"| {name} | {cells} |")
    peers = ", ".join(f"{p['engine']} {p['version']}" for p in results["proofs"])
    card = results["machine"]
    lines += [
        "",
        f"{results['model']}, {results['threads']} threads, {results['prompt_tokens']} tokens of "
        f"prompt, {results['new_tokens']} drawn; {peers}. Measured at commit {card['commit']} on: "
        f"{machine.summary(card)}.",
    ]
    lines += [f"Left out: {name} ({why})." for name, why in results["absent"].items()]
    return "\n".join(lines)


def _cell(row: dict[str, Any]) -> str:
    median, low, high = (short(row[key]) for key in ("median", "low", "high"))
    return f"{median} ({low} to {high})" if row["rounds"] > 1 else median


def _wanted(ratio: dict[str, Any]) -> str:
    for bound, sign in (("at_most", "≤"), ("at_least", "≥")):
        if bound in ratio:
            return f", wanted {sign} {ratio[bound]:g}{': missed' if missed(ratio) else ''}"
    return ""


def masks(results: dict[str, Any]) -> str:
    """The results as Markdown."""
    lines = [
        "| engine | words | compile | mask and step: median | p99 | longest |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in results["rows"]:
        name = f"| {row['engine']} {row['version']} | {row['words']:,} |"
        if "why" in row:
            lines.append(f"{name} {row['why']} | - | - | - |")
            continue
        p50, p99, p100 = (short(row[key]) for key in ("p50", "p99", "p100"))
        lines.append(f"{name} {short(row['compile_s'])} s | {p50} µs | {p99} µs | {p100} µs |")
        if "batch_p50" in row:
            lines.append(
                f"| the same, {row['batch']} sequences a call | {row['words']:,} | | "
                f"{short(row['batch_p50'])} µs a sequence | | |"
            )
    card = results["machine"]
    lines += ["", f"Measured at commit {card['commit']} on: {machine.summary(card)}."]
    lines += [f"Left out: {name} ({why})." for name, why in results["absent"].items()]
    return "\n".join(lines)
