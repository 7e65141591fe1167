"""How the report's page looks: the reader's own light or dark colours, and plots that take them over."""

from __future__ import annotations

STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1b; --paper: #fff; --faint: #d4d4d4; --soft: #f3f3f3; --accent: #0072b2;
  --mark: #b35900 }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e8e8; --paper: #161616; --faint: #444; --soft: #222;
  --accent: #56b4e9; --mark: #e69f00 } }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif }
main { max-width: 1500px; margin: 0 auto; padding: 1.5rem }
h1 { font-size: 1.6rem } h2 { font-size: 1.15rem; margin-top: 2rem }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .3rem .7rem; text-align: right; border-bottom: 1px solid var(--faint) }
td { min-width: 4.5rem }
th:first-child { text-align: left } thead th { background: var(--soft); vertical-align: bottom }
svg { display: block; width: 100%; max-width: 850px; height: auto; margin: .5rem 0 1.5rem }
svg text { fill: var(--ink); font-size: 11px } svg .label { text-anchor: end } svg .tick { text-anchor: middle }
svg .grid { stroke: var(--faint) } svg .dot { fill: var(--accent); fill-opacity: .55 }
svg .bar { fill: var(--accent) } svg .interval { stroke: var(--mark); stroke-width: 2 }
svg .mean { stroke: var(--mark); stroke-width: 3 }
.pictures { display: flex; flex-wrap: wrap; gap: .8rem } figure { margin: 0 } img { display: block; background: #000 }
figcaption { font-size: .85rem; opacity: .8 }
"""
