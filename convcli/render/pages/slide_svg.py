"""A scene as SVG that moves by CSS: light and dark, still for those who asked for less motion."""

from __future__ import annotations

import html

from convcli.render.pages.scene import Cell, Scene, type_size

#: The sheet of an SVG stands in the file itself, so that one file is enough.
_STYLE = """\
svg{--paper:#fff;--ink:#1b1f24;--line:#8a96a3;--input:#cfe3f8;--hole:#f3f5f7;--output:#d3f0e2;--window:#1f5fa8;--here:#0f8a5f;--tap:#8a2a06}
@media (prefers-color-scheme:dark){svg{--paper:#14171b;--ink:#eef1f4;--line:#66717d;--input:#27466b;--hole:#1c2127;\
--output:#1d4a3a;--window:#7db6f5;--here:#4fd6a2;--tap:#ffc890}}
text{fill:var(--ink);text-anchor:middle;dominant-baseline:central}
.title,.formula{text-anchor:start}
rect{stroke:var(--line)}
.paper{fill:var(--paper);stroke:none}
.input{fill:var(--input)}
.hole{fill:var(--hole)}
.pad{fill:none;stroke-dasharray:3 2}
.output{fill:var(--output)}
.window{fill:var(--window);fill-opacity:.38;stroke:none}
.frame{fill:none;stroke:var(--window);stroke-width:3}
.here{fill:var(--here);fill-opacity:.35;stroke:var(--here);stroke-width:3}
.tap{fill:var(--tap);font-weight:600;text-anchor:end}
.formula{visibility:hidden}
.formula.first{visibility:visible}
"""


def draw_svg(scene: Scene, *, seconds: float) -> str:
    """Return a scene as an SVG document.

    Parameters
    ----------
    scene : Scene
    seconds : float
        How long each frame is shown.

    Returns
    -------
    str
        Before it moves, and where motion is unwanted, it shows the first window and every result.

    Examples
    --------
    >>> from convcli.render.pages.scene import lay_out
    >>> from convcli.render.pages.sliding import make_slide
    >>> document = draw_svg(lay_out(make_slide("4x4", "maxpool:2"), 24), seconds=1)
    >>> document[:4], "@keyframes" in document, "http:" in document.replace("http://www.w3.org/2000/svg", "")
    ('<svg', True, False)
    """
    n = len(scene.moves)
    has_taps = any(cell.text for cell in scene.window)
    title = html.escape(scene.title)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{scene.width}" height="{scene.height}" '
        f'viewBox="0 0 {scene.width} {scene.height}" font-family="system-ui,sans-serif" font-size="13" role="img" '
        f'aria-label="{title}">',
        f"<title>{title}</title>",
        f"<style>{_STYLE}{_motion(scene, seconds)}</style>",
        '<rect class="paper" width="100%" height="100%"/>',
        f'<text class="title" x="16" y="17">{title}</text>',
        *(_square(cell, scene.cell, cell.kind) for cell in (*scene.grid, *scene.outputs)),
        f'<text x="{scene.arrow[0]}" y="{scene.arrow[1]}" font-size="20">→</text>',
        '<g class="moves">', *(_square(cell, scene.cell, "window") for cell in scene.window), _outline(scene), "</g>",
        f'<g class="marks">{_square(scene.here, scene.cell, "here")}</g>',
        *(_label(cell, scene.cell, lifted=has_taps) for cell in scene.grid if cell.text),
        *(
            _label(cell, scene.cell, extra=f' style="animation-name:r{index}"' if n > 1 else "")
            for index, cell in enumerate(scene.outputs) if cell.text
        ),
        '<g class="moves">', *(_tap(cell, scene.cell) for cell in scene.window if cell.text), "</g>",
        *(
            f'<text class="formula{" first" if not index else ""}" x="16" y="{scene.height - 20}" '
            f'style="animation-delay:{index * seconds:g}s">{html.escape(text)}</text>'
            for index, text in enumerate(scene.formulas)
        ),
        "</svg>",
    ]  # fmt: skip
    return "\n".join(parts) + "\n"


def _motion(scene: Scene, seconds: float) -> str:
    """Return the key frames: one still position after the other, nothing in between."""
    n = len(scene.moves)
    if n == 1:
        return ""
    at = [f"{100 * index / n:.4g}%" for index in range(n + 1)]
    # step-end: a window jumps from sample to sample and never stands between them.
    rules = [
        f".moves,.marks,.formula,.result{{animation:moves {n * seconds:g}s step-end infinite}}",
        ".marks{animation-name:marks}.formula{animation-name:formula}",
    ]
    for name, steps in (("moves", scene.moves), ("marks", scene.marks)):
        frames = "".join(f"{at[index]}{{transform:translate({x}px,{y}px)}}" for index, (x, y) in enumerate(steps))
        rules.append(f"@keyframes {name}{{{frames}}}")
    if scene.formulas:
        rules.append(f"@keyframes formula{{0%{{visibility:visible}}{at[1]}{{visibility:hidden}}}}")
        rules += [f"@keyframes r{index}{{0%{{opacity:0}}{at[index]}{{opacity:1}}}}" for index in range(1, n)]
    # Motion makes some people ill: their setting wins over every rule above.
    rules.append("@media (prefers-reduced-motion:reduce){*{animation:none!important}}")
    return "\n".join(rules)


def _square(cell: Cell, size: int, kind: str) -> str:
    return f'<rect class="{kind}" x="{cell.x}" y="{cell.y}" width="{size}" height="{size}"/>'


def _outline(scene: Scene) -> str:
    x, y, width, height = scene.frame_box
    return f'<rect class="frame" x="{x}" y="{y}" width="{width}" height="{height}"/>'


def _label(cell: Cell, size: int, *, lifted: bool = False, extra: str = "") -> str:
    """Return the number of a cell; lifted where the tap of the window stands below it."""
    font = type_size(cell.text, size, 13)
    y = cell.y + size * (0.4 if lifted else 0.5)
    name = ' class="result"' if extra else ""
    return f'<text{name} x="{cell.x + size / 2:g}" y="{y:g}" font-size="{font:g}"{extra}>{cell.text}</text>'


def _tap(cell: Cell, size: int) -> str:
    font = type_size(cell.text, size * 3 // 4, 10)
    x, y = cell.x + size - 3, cell.y + size * 0.8
    return f'<text class="tap" x="{x}" y="{y:g}" font-size="{font:g}">{cell.text}</text>'
